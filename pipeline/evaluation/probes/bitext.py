"""Bitext mining: documents and their translations, found among each other by their vectors."""

import numpy as np

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.mining import margins, mine
from pipeline.evaluation.retrieval import cosine_scores, ranks
from pipeline.evaluation.subject import Subject

ABOUT = "translations found among all, by margin: F1, and accuracy in both directions"
NEEDS = "an encoder, and paired documents (data.parallel, data.columns.pair=true)"
FEWEST_PAIRS, MOST_PAIRS = 8, 2000


def measure(subject: Subject) -> Figures:
    """Accuracy is 1 less the error that Artetxe and Schwenk call xsim, in each direction."""
    pairs = subject.texts.pairs()[:MOST_PAIRS]
    if len(pairs) < FEWEST_PAIRS:
        raise InputError(
            f"probe bitext: {len(pairs)} paired documents, {FEWEST_PAIRS} are needed: prepare translations with "
            "data.parallel and data.columns.pair=true, or give such text with --data"
        )
    first, second = (subject.vectors([pair[side].text for pair in pairs]) for side in (0, 1))
    margins_NM = margins(cosine_scores(first, second))
    mined = mine(margins_NM, len(pairs))
    forward, backward = ((ranks(scores) == 1).astype(np.float64) for scores in (margins_NM, margins_NM.T))
    metrics = {
        "accuracy": Figure.mean((forward + backward) / 2),
        "accuracy_forward": Figure.mean(forward),
        "accuracy_backward": Figure.mean(backward),
        "f1": Figure(mined.f1),
        "precision": Figure(mined.precision),
        "recall": Figure(mined.recall),
    }
    languages = sorted({(a.language or "?", b.language or "?") for a, b in pairs})
    settings = {
        **subject.texts.settings,
        "pairs": len(pairs),
        "languages": [" - ".join(pair) for pair in languages],
        "threshold": mined.threshold,
    }
    return Figures(metrics, settings=settings, values=((forward + backward) / 2).tolist())
