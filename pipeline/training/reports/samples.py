"""samples.jsonl: what the model would write for a few held-out sequences, each time it is asked.

    {"step": 12, "samples": [{"reads": {"encoder": [...]}, "asked": [{"read": ..., "label": ..., "predicted": ...}]}]}

All are tokens as people read them; `predicted` is null where the model would leave a place as it is (token detection).
The sequences are the same every time, so that one can see the model learn.
"""

from typing import Any

import numpy as np

from data_prep.tokenizer.tokenizer import Tokenizer
from data_prep.tokenizer.visible import visible
from pipeline.batch import IGNORED_LABEL, Batch, MicroBatch

SEQUENCES = 3
MOST_TOKENS = 96


def sample_record(step: int, micro_batch: MicroBatch, predictions: np.ndarray, tokenizer: Tokenizer) -> dict[str, Any]:
    """The line of `step`. `predictions` [T] are those of the last view with labels, as an objective's `predict` gives.

    The sequences with the most labels are shown, and the beginning of each.
    """
    labelled = next((view for view in reversed(micro_batch.views.values()) if view.labels is not None), None)
    if labelled is None:
        return {"step": step, "samples": []}
    samples = [_sample(micro_batch, labelled, n, predictions, tokenizer) for n in _most_labelled(labelled)]
    return {"step": step, "samples": samples}


def _most_labelled(view: Batch) -> list[int]:
    asked = [int((np.asarray(view.labels)[view.sequence(n)] != IGNORED_LABEL).sum()) for n in range(view.num_sequences)]
    most = sorted(range(len(asked)), key=lambda n: (-asked[n], n))[:SEQUENCES]
    return sorted(n for n in most if asked[n])


def _sample(
    micro_batch: MicroBatch, labelled: Batch, n: int, predictions: np.ndarray, tokenizer: Tokenizer
) -> dict[str, Any]:
    rows = labelled.sequence(n)
    tokens, labels, predicted = (
        np.asarray(each)[rows].tolist() for each in (labelled.tokens, labelled.labels, predictions)
    )
    places = [place for place, label in enumerate(labels) if label != IGNORED_LABEL]
    tells_all = len(places) == len(labels)  # a decoder reads its own labels, one place later
    reads = {
        name: [_shown(token, tokenizer) for token in np.asarray(view.tokens)[view.sequence(n)].tolist()[:MOST_TOKENS]]
        for name, view in micro_batch.views.items()
        if view is not labelled or not tells_all
    }
    asked = [(tokens[place], labels[place], predicted[place]) for place in places[:MOST_TOKENS]]
    names = ("read", "label", "predicted")
    return {
        "reads": reads,
        "asked": [dict(zip(names, (_shown(token, tokenizer) for token in each), strict=True)) for each in asked],
    }


def _shown(token: int, tokenizer: Tokenizer) -> str | None:
    """A token with white space made visible, a sentinel as ⟨3⟩; None for no token, ⟨?⟩ for one that is only padding."""
    if token == IGNORED_LABEL:
        return None
    sentinels = tokenizer.special.sentinels
    if token in sentinels:
        return f"⟨{token - sentinels[0]}⟩"
    return visible(tokenizer.id_to_piece(token)) if token < tokenizer.vocab_size else "⟨?⟩"
