"""A gate before the optimizer's update, wherever DeepSpeed calls it: per group, per part of a group, or once.

Each way DeepSpeed has of stepping (no ZeRO in float32 and in bfloat16, ZeRO 1 and 2, ZeRO 3) first has the global
gradient norm and then calls the optimizer's `step`, and nothing else changes masters or moments: where that call does
nothing, the step leaves them to the bit as they were.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Judge = Callable[[float], bool]
"""Whether to update, by the global gradient norm; the same on every rank."""


class UpdateGate:
    """Stands where the optimizer's `step` was; open, unless a judge is asking and says no."""

    def __init__(self, optimizer: torch.optim.Optimizer, look: Callable[[Sequence[Tensor]], None]) -> None:
        """`look` sees the tensors of each call, their gradients in place, also of an update that is left out."""
        self._optimizer, self._step, self._look = optimizer, optimizer.step, look
        self._ask: Callable[[], bool] | None = None
        setattr(optimizer, "step", self._called)  # noqa: B010 - mypy knows that a method is no attribute

    @contextlib.contextmanager
    def asking(self, judge: Judge | None, norm: Callable[[], float]) -> Iterator[None]:
        """The judge is asked once while this lasts, at the first call, or at the end where DeepSpeed made none."""
        answers: list[bool] = []

        def ask() -> bool:
            if not answers:
                answers.append(judge is None or judge(norm()))
            return answers[0]

        self._ask = ask
        try:
            yield
            ask()
        finally:
            self._ask = None

    def _called(self, *arguments: Any, **options: Any) -> Any:
        self._look([tensor for group in self._optimizer.param_groups for tensor in group["params"]])
        if self._ask is not None and not self._ask():
            return None
        return self._step(*arguments, **options)
