"""Groups of parameters with a learning rate of their own, or frozen at first. No torch here.

A group takes the parameters whose names match one of its patterns and that no group before it took; those that are left
have the rate of `training:`. Liu and Lapata 2019 (PreSumm, arXiv:1908.08345), section 4.2, train a pretrained encoder
and a new decoder so: the encoder slower, and warmed up longer.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from data_prep.errors import InputError
from data_prep.section import Section

REST = ""  # the name of the parameters that no group takes


class ScheduleConfig(Section):
    """How the learning rate moves: warm-up to `learning_rate`, then by `kind` down to `min_lr_ratio` of it."""

    kind: Literal["cosine", "linear", "inverse_sqrt", "wsd", "constant"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """Length of the warm-up (default: warmup_ratio of the run)."""
    warmup_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    decay_steps: Annotated[int, Field(gt=0)] | None = None
    """cosine, linear: length of the decay after warm-up (default: the rest of the run); wsd: length of the final decay
    (default: a tenth of the run); inverse_sqrt: length of a final linear decay (default: none)."""
    min_lr_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class ParameterGroup(Section):
    """Some parameters, by patterns of their names, as "model.encoder.*"."""

    parameters: tuple[str, ...] = Field(min_length=1)
    learning_rate: Annotated[float, Field(gt=0.0)] | None = None
    """Default: that of `training:`."""
    schedule: ScheduleConfig | None = None
    """Default: that of `training:`. It begins when the group is no longer frozen."""
    frozen_steps: Annotated[int, Field(ge=0)] = 0
    """For so many steps the weights stay as they are: no update, no decay, no part in the gradient norm."""


def groups_of(groups: Mapping[str, ParameterGroup], names: Iterable[str]) -> dict[str, str]:
    """The group of each parameter, by name; InputError for a group that gets none."""
    found = {name: _group_of(groups, name) for name in names}
    for group, config in groups.items():
        if group not in found.values():
            raise InputError(
                f"training.groups.{group}: no parameter is named like {' or '.join(config.parameters)} and left by the "
                f"groups before it. There are {', '.join(list(found)[:3])}, ..."
            )
    return found


def _group_of(groups: Mapping[str, ParameterGroup], name: str) -> str:
    for group, config in groups.items():
        if any(fnmatchcase(name, pattern) for pattern in config.parameters):
            return group
    return REST
