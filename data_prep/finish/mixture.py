"""How many tokens of each group a mixture asks for. Pure, and the same on every machine: decimals, not floats.

1. A group with a `share` gets that part of all tokens. The others divide what is left in proportion to
   weight * tokens^(1/temperature): at temperature 1 as the corpus has it, at high temperatures evenly
   (XLM-R, Conneau et al. 2020, section 3.1, with alpha = 1/temperature; mT5, Xue et al. 2021, section 3.2).
2. The total is the budget. Without one it is the least that leaves out nothing: the group that is most plentiful for
   its part is taken once, the others are repeated.
3. A group's `max_tokens` is applied last; what it cuts off goes to nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal, localcontext

from data_prep.errors import InputError

_CONTEXT = Context(prec=50)
_ROUNDING = Decimal("1e-9")  # of a token: 3 * 100 is 300, however a division in between was rounded


@dataclass(frozen=True)
class Wish:
    """What is asked for a group."""

    weight: float = 1.0
    share: float | None = None
    max_tokens: int | None = None


def target_tokens(
    tokens: Mapping[str, int], wishes: Mapping[str, Wish], temperature: float, budget: int | None
) -> dict[str, int]:
    """Tokens wanted of each group of `tokens` (which has only groups with tokens). InputError if that cannot be."""
    if not tokens:
        return {}
    with localcontext(_CONTEXT):
        parts = _parts(tokens, wishes, temperature)
        total = max(tokens[name] / part for name, part in parts.items()) if budget is None else Decimal(budget)
        wanted = {name: int((part * total + _ROUNDING).to_integral_value(ROUND_FLOOR)) for name, part in parts.items()}
    limits = {name: wishes[name].max_tokens for name in wanted}
    return {name: count if (limit := limits[name]) is None else min(count, limit) for name, count in wanted.items()}


def _parts(tokens: Mapping[str, int], wishes: Mapping[str, Wish], temperature: float) -> dict[str, Decimal]:
    """Each group's part of all tokens; they add up to 1."""
    shares = {name: _decimal(share) for name in tokens if (share := wishes[name].share) is not None}
    taken = sum(shares.values(), Decimal(0))
    exponent = 1 / _decimal(temperature)
    sizes = {
        name: _decimal(wishes[name].weight) * Decimal(count) ** exponent
        for name, count in tokens.items()
        if name not in shares
    }
    if sizes and taken >= 1:
        raise InputError(
            f"select: the shares add up to {taken}, and nothing is left for {_names(sizes)}; lower a share"
        )
    if not sizes and taken != 1:
        raise InputError(f"select: the shares of {_names(shares)} add up to {taken}, and there are no other groups")
    everything = sum(sizes.values(), Decimal(0))
    return shares | {name: (1 - taken) * size / everything for name, size in sizes.items()}


def _decimal(number: float) -> Decimal:
    """The number as it was written: 0.1, not the nearest fraction of a power of two."""
    return Decimal(repr(number))


def _names(groups: Mapping[str, Decimal]) -> str:
    return ", ".join(sorted(groups))
