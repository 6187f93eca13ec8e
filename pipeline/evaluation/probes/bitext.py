"""Bitext mining: documents and their translations, found among each other by their vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.mining import Mined, margins, mine
from pipeline.evaluation.retrieval import cosine_scores, ranks
from pipeline.evaluation.subject import Subject

ABOUT = "translations found among all, by margin: F1, and accuracy in both directions"
NEEDS = "an encoder, and paired documents (data.parallel, data.columns.pair=true)"
FEWEST_PAIRS, MOST_PAIRS = 8, 2000
FloatArray = npt.NDArray[np.floating]


def measure(subject: Subject) -> Figures:
    """Accuracy is 1 less the error called xsim, in each direction; by two languages, and the mean over all pairs.

    Beside it, what a guess would find.
    """
    translations = {
        f"{first} - {second}": pairs[:MOST_PAIRS]
        for (first, second), pairs in subject.texts.translations().items()
        if len(pairs) >= FEWEST_PAIRS
    }
    if not translations:
        most = max(map(len, subject.texts.translations().values()), default=0)
        raise InputError(
            f"probe bitext: {most} paired documents of two languages, {FEWEST_PAIRS} are needed: prepare translations "
            "with data.parallel and data.columns.pair=true, hold more of them out (data.heldout_fraction), or give "
            "such text with --data"
        )
    asked = {id(document): document.text for pairs in translations.values() for pair in pairs for document in pair}
    vectors = dict(zip(asked, subject.vectors(list(asked.values())), strict=True))
    found = {
        languages: _search(*(np.stack([vectors[id(pair[side])] for pair in pairs]) for side in (0, 1)))
        for languages, pairs in translations.items()
    }
    chance = len(found) / sum(len(each.both) for each in found.values())  # each pair of languages gives one right guess
    groups: dict[str, Mapping[str, Mapping[str, Figure]]] = {
        "languages": {languages: _metrics([each]) for languages, each in found.items()},
        "beside": {"chance": {"accuracy": Figure(chance)}},
    }
    settings = {
        **subject.texts.settings,
        "pairs": {languages: len(pairs) for languages, pairs in translations.items()},
        "thresholds": {languages: each.mined.threshold for languages, each in found.items()},
    }
    values = np.concatenate([each.both for each in found.values()])
    return Figures(_metrics(list(found.values())), groups, settings, values.tolist())


@dataclass(frozen=True)
class _Found:
    """Of two languages: which texts found their own, [N] float64 each way, and what was mined."""

    forward: FloatArray
    backward: FloatArray
    mined: Mined

    @property
    def both(self) -> FloatArray:
        """The mean of both directions, of each pair [N]."""
        return (self.forward + self.backward) / 2


def _search(first_NW: FloatArray, second_NW: FloatArray) -> _Found:
    """Row i of either side translates row i of the other."""
    margins_NN = margins(cosine_scores(first_NW, second_NW))
    forward, backward = ((ranks(scores) == 1).astype(np.float64) for scores in (margins_NN, margins_NN.T))
    return _Found(forward, backward, mine(margins_NN, len(first_NW)))


def _metrics(found: Sequence[_Found]) -> dict[str, Figure]:
    """Accuracy with its interval over all pairs; what was mined as the mean over pairs of languages."""
    directions = {"accuracy": "both", "accuracy_forward": "forward", "accuracy_backward": "backward"}
    accuracies = {
        name: Figure.mean(np.concatenate([getattr(each, way) for each in found])) for name, way in directions.items()
    }
    mined = {
        name: Figure(float(np.mean([getattr(each.mined, name) for each in found])))
        for name in ("f1", "precision", "recall")
    }
    return accuracies | mined
