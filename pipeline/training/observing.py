"""What a logged step tells of its gradients and logits before the weights are updated, and of the embedding after that.

    gradient/PART   norm of the gradient of that part of the model, before clipping: a layer, the embedding, a head
    logit/max       the largest absolute logit of the step
    logit/mean_log_z    mean over the rows of log sum exp(logits), which z-loss keeps near 0
    embedding/tev   mean over the vocabulary of each token's deviation (token embedding variability)
    embedding/tev_deviation     its standard deviation over the vocabulary

Invariant: nothing here changes a bit of training; the numbers are those of the whole global batch on every rank.
"""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.kernels.cross_entropy.watching import LogitFigures, watch_logits
from pipeline.training.embedding_table import EmbeddingTable, table_variability
from pipeline.training.optimizers.flat import Layout, squares


def part_of(name: str) -> str:
    """The part of the model that the parameter `name` belongs to: its block, or the module that owns it."""
    path = name.removeprefix("model.").split(".")[:-1]
    if "blocks" in path:
        return ".".join(path[: path.index("blocks") + 2])
    return ".".join(path) or name


class Observer:
    """Of one rank: what it saw of the step that is being made."""

    def __init__(
        self,
        names: Sequence[str],
        layout: Layout,
        weights_of: Callable[[Tensor], Tensor],
        table: EmbeddingTable | None = None,
    ) -> None:
        """`names` of the parameters by number; `weights_of` as in `table_variability`."""
        parts = [part_of(name) for name in names]
        self._parts = list(dict.fromkeys(parts))
        self._part_of = [self._parts.index(part) for part in parts]
        self._layout, self._weights_of = layout, weights_of
        self._table = table
        self._table_number = names.index(table.name) if table is not None else -1
        self.on = False
        self._squares: Tensor | None = None
        self._logits = LogitFigures()

    def begin(self, observed: bool) -> None:
        """A step begins, which is observed or not."""
        self.on, self._squares, self._logits = observed, None, LogitFigures()

    def forward(self) -> AbstractContextManager[None]:
        """Watch the logits of a forward pass, if this step is observed."""
        return watch_logits(self._logits) if self.on else contextlib.nullcontext()

    def gradients(self, tensors: Sequence[Tensor]) -> None:
        """The gradients of these tensors of the layout, scaled by whatever all of the step's are scaled by."""
        if not self.on:
            return
        for tensor in tensors:
            if (gradient := tensor.grad) is None:
                continue
            if self._squares is None:
                self._squares = torch.zeros(len(self._parts), dtype=torch.float64, device=tensor.device)
            for piece in self._layout.pieces[tensor]:
                self._squares[self._part_of[piece.parameter]] += squares(gradient.view(-1)[piece.start : piece.stop])

    def take(self, grad_norm: float) -> dict[str, float]:
        """What was seen of the step whose gradient has this norm before clipping; empty unless observed. Collective."""
        if not self.on:
            return {}
        self.on, found = False, self._squares
        sums = self._layout.over_ranks(
            torch.zeros(len(self._parts), dtype=torch.float64) if found is None else found.cpu()
        )
        scale = grad_norm / total if (total := float(sums.sum().sqrt())) > 0 else 0.0
        norms = {f"gradient/{part}": float(own.sqrt()) * scale for part, own in zip(self._parts, sums, strict=True)}
        return norms | _over_ranks(self._logits) | self._variability()

    def _variability(self) -> dict[str, float]:
        if self._table is None:
            return {}
        mean, spread = table_variability(self._layout, self._table_number, self._table.vocab_size, self._weights_of)
        return {"embedding/tev": mean, "embedding/tev_deviation": spread}


def _over_ranks(figures: LogitFigures) -> dict[str, float]:
    largest = torch.tensor([figures.largest], dtype=torch.float64)
    sums = torch.tensor([figures.log_z, figures.rows], dtype=torch.float64)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    dist.all_reduce(sums)
    if not sums[1]:
        return {}  # nothing here has logits over a vocabulary
    return {"logit/max": float(largest), "logit/mean_log_z": float(sums[0] / sums[1])}
