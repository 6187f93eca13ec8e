"""Random-LTD's two schedules (Yao et al. 2022, arXiv:2211.11586), pure functions of the step. No torch here.

How much the middle layers keep grows on a line from `start_share` to everything, by `share_increment` at a time. And
the learning rate counts *layer-tokens* in place of steps, as the paper's LayerToken schedule does: a step in which
layers skip tokens moves warm-up and decay on by less than a whole step. What is dropped, and how, is in
pipeline/model/token_dropping.py.

Shares are whole multiples of 2**-16, so that everything here is integers until a rate is computed.
"""

from collections.abc import Callable, Iterator
from typing import Annotated

from pydantic import Field

from data_prep.section import Positive, Section
from pipeline.model.config import middle_layers

Clock = Callable[[int], float]
"""How far the learning rate's schedule is after so many steps, in steps on all tokens."""

_WHOLE = 1 << 16


class RandomLtd(Section):
    """Middle layers of encoder and decoder train on a random share of the tokens, until step `full_at_step`."""

    start_share: Annotated[float, Field(ge=1 / 1024, le=0.99)]
    """What a middle layer keeps of a window's tokens at first."""
    full_at_step: Positive
    """From this step on everything is kept."""
    share_increment: Annotated[float, Field(ge=1 / 1024, le=1.0)] = 1 / 32
    """The share grows by so much at a time."""
    layer_token_schedule: bool = True
    """Learning rates move on by the layer-tokens of a step; false: by steps."""

    def kept(self, step: int) -> int:
        """What middle layers keep in the update number `step` (from 0), in 2**-16."""
        if step >= self.full_at_step:
            return _WHOLE
        return self._at(step * self._levels // self.full_at_step)

    def shares(self, first: int, stop: int) -> Iterator[tuple[float, int]]:
        """Each share that the steps first .. stop - 1 have, and how many of them have it."""
        for level in range(self._levels):
            begins, ends = self._begins(level), self._begins(level + 1)
            if (count := min(stop, ends) - max(first, begins)) > 0:
                yield self._at(level) / _WHOLE, count
        if (count := stop - max(first, self.full_at_step)) > 0:
            yield 1.0, count

    def consumed(self, step: int, layers: int, middle: int) -> float:
        """Layer-tokens of the steps before `step`, as a number of steps on all tokens in all `layers`.

        `middle` of them drop tokens.
        """
        dropped = sum((_WHOLE - round(share * _WHOLE)) * count for share, count in self.shares(0, step))
        return step - dropped * middle / (_WHOLE * layers)

    @property
    def _levels(self) -> int:
        increment = round(self.share_increment * _WHOLE)
        return -(-(_WHOLE - round(self.start_share * _WHOLE)) // increment)

    def _begins(self, level: int) -> int:
        """The first step of a level: they are spread evenly over the steps before `full_at_step`."""
        return -(-level * self.full_at_step // self._levels)

    def _at(self, level: int) -> int:
        return min(_WHOLE, round(self.start_share * _WHOLE) + level * round(self.share_increment * _WHOLE))


def kept_share(ltd: RandomLtd | None, step: int) -> float | None:
    """The share of tokens that middle layers keep in the update number `step` (from 0); None where none are dropped."""
    return None if ltd is None else ltd.kept(step) / _WHOLE


def schedule_clock(ltd: RandomLtd | None, stacks: tuple[int, ...]) -> Clock:
    """What learning rates count, for stacks of so many layers; layers of both stacks count alike.

    (A step's layer-tokens are those of its data; where encoder and decoder have as many layers, the share is exact.)
    """
    if ltd is None or not ltd.layer_token_schedule:
        return float
    middle = sum(middle_layers(num_layers) for num_layers in stacks)
    return lambda step: ltd.consumed(step, sum(stacks), middle)
