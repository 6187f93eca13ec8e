"""Token embedding variability, a cheap sign of how stable training is (pipeline/evaluation/embeddings.py)."""

from pipeline.evaluation.embeddings import token_embedding_variability
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.subject import Subject

ABOUT = "token embedding variability (MLRA): mean and spread of each embedding's deviation"
NEEDS = "any model"


def measure(subject: Subject) -> Figures:
    """Of the table of embeddings, the rows that pad it left out."""
    table_VW = subject.model.embedding()
    mean, spread = token_embedding_variability(table_VW)
    settings = {"tokens": len(table_VW), "width": table_VW.shape[1]}
    return Figures({"tev": Figure(mean), "tev_deviation": Figure(spread)}, settings=settings)
