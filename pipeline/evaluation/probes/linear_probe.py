"""What of a document's labels, its source and its language, can be read off its vector by a linear map."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.linear_probe import LinearProbe
from pipeline.evaluation.subject import Subject
from pipeline.evaluation.texts import Document

ABOUT = "accuracy of a linear map from a text's vector to its source and language"
NEEDS = "an encoder, and documents of two sources or languages"
DOCUMENTS, FEWEST_OF_A_CLASS = 1000, 8


def measure(subject: Subject) -> Figures:
    """Fitted to every second document of a class, and asked about the others."""
    metrics, groups, settings = {}, {}, {**subject.texts.settings}
    values: list[float] = []
    for label in ("source", "language"):
        documents, classes = labelled(subject.texts.documents, label)
        if len(classes) > 1:
            right, baseline = _ask(subject, documents, [getattr(each, label) for each in documents], classes)
            metrics[f"{label}_accuracy"] = Figure.mean(right)
            groups[f"{label}, beside"] = {"largest class": {f"{label}_accuracy": Figure(baseline)}}
            settings[f"{label}s"] = classes
            values = values or right.tolist()
    if not metrics:
        raise InputError(
            f"probe linear_probe: no two sources or languages have {FEWEST_OF_A_CLASS} documents each here; prepare "
            "with data.columns.lang=true, or give other text with --data"
        )
    return Figures(metrics, groups, settings, values)


def labelled(documents: Sequence[Document], label: str) -> tuple[list[Document], list[str]]:
    """The documents of classes that are large enough, at most DOCUMENTS, and those classes."""
    sizes = Counter(getattr(document, label) for document in documents)
    classes = sorted(name for name, size in sizes.items() if name is not None and size >= FEWEST_OF_A_CLASS)
    kept = [document for document in documents if getattr(document, label) in classes]
    return kept[:: -(-len(kept) // DOCUMENTS) or 1], classes


def _ask(
    subject: Subject, documents: Sequence[Document], names: Sequence[str], classes: Sequence[str]
) -> tuple[np.ndarray, float]:
    """Whether each tested document's class was told, and how often the fitted documents' largest class is right."""
    vectors_NW = torch.from_numpy(subject.vectors([document.text for document in documents]))
    labels_N = torch.tensor([classes.index(name) for name in names])
    seen: Counter[int] = Counter()
    tested = torch.zeros(len(labels_N), dtype=torch.bool)
    for number, label in enumerate(labels_N.tolist()):
        tested[number] = seen[label] % 2 == 1
        seen[label] += 1
    probe = LinearProbe.fit(vectors_NW[~tested], labels_N[~tested], len(classes), decay=1e-2)
    right = (probe.predict(vectors_NW[tested]) == labels_N[tested]).numpy().astype(np.float64)
    largest = labels_N[~tested].mode().values
    return right, float((labels_N[tested] == largest).double().mean())
