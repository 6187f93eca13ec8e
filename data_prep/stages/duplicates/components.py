"""Clusters of copies from the links of all parts: the second reduction, one task for the whole corpus.

1. `links` of all parts, one part after another, become clusters: every document with its cluster's first document.
2. Clusters whose documents have partners in common are put into blocks: what must be decided together.
3. Members of blocks that have copies are written, sorted by block.

Memory: about 100 bytes per document that has a copy, or is aligned; nothing for the others. On disk 24 bytes each.
"""

from typing import Any

import numpy as np

from data_prep.stages.stage import Part

NO_LINKS = np.zeros((0, 2), np.int64)


def stars(edges: np.ndarray) -> np.ndarray:
    """(document, first document of its component) for edges [m, 2], without the first documents themselves."""
    if not len(edges):
        return NO_LINKS
    from scipy.sparse import coo_array  # slow to import, and only where there are copies
    from scipy.sparse.csgraph import connected_components

    nodes, places = np.unique(edges, return_inverse=True)
    places = places.reshape(edges.shape)
    graph = coo_array((np.ones(len(edges), np.int8), (places[:, 0], places[:, 1])), shape=(len(nodes), len(nodes)))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    roots = nodes[first[labels]]
    return np.stack([nodes, roots], axis=1)[nodes != roots]


def connect(part: Part) -> dict[str, Any]:
    """Write `members.npy` [m, 3] int64: document, first document of its cluster, first document of its block."""
    links, blocks = NO_LINKS, NO_LINKS
    for folder in part.inputs:
        links = stars(np.concatenate([links, np.load(folder / "links.npy")]))
        blocks = stars(np.concatenate([blocks, np.load(folder / "partners.npy")]))
    blocks = stars(np.concatenate([blocks, links]))
    documents = np.unique(blocks)
    members = np.stack([documents, _roots(links, documents), _roots(blocks, documents)], axis=1)
    decided = np.isin(members[:, 2], members[members[:, 0] != members[:, 1], 2])
    members = members[decided]
    np.save(part.out / "members.npy", members[np.lexsort((members[:, 0], members[:, 2]))])
    return {"clusters": len(np.unique(links[:, 1])), "copies": len(links)}


def _roots(forest: np.ndarray, documents: np.ndarray) -> np.ndarray:
    roots = documents.copy()
    roots[np.searchsorted(documents, forest[:, 0])] = forest[:, 1]
    return roots
