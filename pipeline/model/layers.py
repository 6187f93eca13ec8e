"""The blocks of a stack, one after another: on all rows or on some; for backward all is kept, or inputs alone."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipeline.batch import Batch
from pipeline.model.attention import Sight
from pipeline.model.token_dropping import view_of_rows


class Layers(nn.ModuleList):
    """Blocks; with `activation_checkpointing` only the input of each is kept for backward."""

    activation_checkpointing = False

    def forward(
        self,
        x_TW: torch.Tensor,
        view: Batch,
        sights: Sequence[Sight],
        kept: Sequence[torch.Tensor | None],
        memory_SW: torch.Tensor | None,
        memory_sight: Sight | None,
        source_TW: torch.Tensor | None,
        all_states: bool,
    ) -> tuple[torch.Tensor, ...]:
        """The states [T, W] after the last block, or after each; `sights` and `kept` rows (None: all) are by block."""
        states = []
        for block, sight, rows_K in zip(self, sights, kept, strict=True):
            if rows_K is None:
                x_TW = self._run(block, x_TW, view, sight, memory_SW, memory_sight, source_TW)
            else:
                x_TW = self._run_on(rows_K, block, x_TW, view, sight, memory_SW, memory_sight)
            states.append(x_TW)
        return tuple(states) if all_states else (x_TW,)

    def _run_on(
        self,
        rows_K: torch.Tensor,
        block: nn.Module,
        x_TW: torch.Tensor,
        view: Batch,
        sight: Sight,
        memory_SW: torch.Tensor | None,
        memory_sight: Sight | None,
    ) -> torch.Tensor:
        """The block over these rows alone; the others stay as they are."""
        part = view_of_rows(view, rows_K)
        seen = sight.of_rows(rows_K, view, part.cu_seqlens)
        memory_seen = memory_sight and memory_sight.of_queries(rows_K)
        done_KW = self._run(block, x_TW.index_select(0, rows_K), part, seen, memory_SW, memory_seen)
        return x_TW.index_copy(0, rows_K, done_KW)

    def _run(self, block: nn.Module, *arguments: object) -> torch.Tensor:
        if self.activation_checkpointing and torch.is_grad_enabled():
            # Dropout has no state, so there is no generator to put back for the second forward.
            return checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
        return block(*arguments)
