"""What each optimizer keeps of each parameter, by names and shapes alone. No torch here.

A parameter has `exp_avg`, the mean of its gradients, and `exp_avg_sq`, that of their squares,
where its step is divided by them. Schedule-free optimizers keep `z`, where the steps lead without the averaging.
"""

from collections.abc import Mapping, Sequence

from pipeline.checkpoint.format import Kind

FIRST: tuple[Kind, ...] = ("exp_avg",)
BOTH: tuple[Kind, ...] = ("exp_avg", "exp_avg_sq")
AVERAGED: tuple[Kind, ...] = ("exp_avg_sq", "z")


def moments_of(optimizer: str, name: str, shape: Sequence[int]) -> tuple[Kind, ...]:
    """The moments of one parameter."""
    if optimizer == "schedule_free":
        return AVERAGED
    if optimizer == "lion" or (optimizer == "muon" and is_hidden_matrix(name, shape)):
        return FIRST
    return BOTH


def names_by_moment(optimizer: str, shapes: Mapping[str, Sequence[int]]) -> dict[str, list[str]] | None:
    """The parameters that have each moment; None where all have both."""
    kinds = {name: moments_of(optimizer, name, shape) for name, shape in shapes.items()}
    if all(own == BOTH for own in kinds.values()):
        return None
    return {kind: sorted(name for name, own in kinds.items() if kind in own) for kind in (*BOTH, *AVERAGED[1:])}


def is_hidden_matrix(name: str, shape: Sequence[int]) -> bool:
    """Whether a parameter turns states of a layer into others: not an embedding, a table of positions or a head."""
    return len(shape) == 2 and "blocks" in name.split(".")
