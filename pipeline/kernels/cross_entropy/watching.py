"""Figures of the logits that the head's cross entropy sees and forgets, for who asks for them.

figures = LogitFigures()
with watch_logits(figures):
    loss = objective(views)
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from pipeline.kernels.cross_entropy.reference import slices

_WIDE_LOGITS = 2**22  # of the wide copies there are so many at once


@dataclass
class LogitFigures:
    """Over all rows of logits that were seen."""

    largest: float = 0.0
    """The largest absolute logit."""
    log_z: float = 0.0
    """The sum over the rows of log sum exp(logits)."""
    rows: int = 0

    def add(self, logits_CV: torch.Tensor) -> None:
        """More rows."""
        if not len(logits_CV):
            return
        low, high = torch.aminmax(logits_CV)
        self.largest = max(self.largest, -float(low), float(high))
        for rows in slices(len(logits_CV), logits_CV.shape[1], _WIDE_LOGITS):
            log_z_R = torch.logsumexp(logits_CV[rows].to(torch.promote_types(logits_CV.dtype, torch.float32)), dim=-1)
            self.log_z += float(log_z_R.sum(dtype=torch.float64))
        self.rows += len(logits_CV)


_WATCHED: ContextVar[LogitFigures | None] = ContextVar("watched logits", default=None)


@contextlib.contextmanager
def watch_logits(figures: LogitFigures) -> Iterator[None]:
    """While this lasts, the logits of every cross entropy of this thread are added to `figures`."""
    token = _WATCHED.set(figures)
    try:
        yield
    finally:
        _WATCHED.reset(token)


def tell_logits(logits_CV: torch.Tensor) -> None:
    """These logits are about to be used, and overwritten; a compiled graph tells of none."""
    if torch.compiler.is_compiling():
        return
    figures = _WATCHED.get()
    if figures is not None:
        figures.add(logits_CV)
