"""Select on a device: the spans of every piece, by the rules of pipeline/corruption/select*.py and with their bits.

Spans are two arrays over the gaps: where one begins (at most one at a gap, also an empty one, also at a piece's end),
and which tokens are hidden. Shape suffixes as in device_text.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.corruption.philox import Key
from pipeline.corruption.sampling import Purpose, threshold
from pipeline.corruption.select import T5Spans
from pipeline.corruption.select_tokens import WEIGHT
from pipeline.corruption.select_units import NGrams
from pipeline.kernels.masking import triton_units
from pipeline.kernels.masking.device_text import (
    Text,
    exclusive_sums,
    last_marked,
    next_marked,
    order_by_key,
    put,
    smallest_k,
    sums_before,
)
from pipeline.token_columns import CONTINUES, OUTSIDE

_ONE = 1 << 32
_NO_UNIT = _ONE  # a key after all others


@dataclass(frozen=True)
class Spans:
    """begins[g]: a span begins at gap g; hidden[g]: the token after gap g is in one."""

    begins: torch.Tensor  # [G] bool
    hidden: torch.Tensor  # [G] bool
    order: torch.Tensor | None = None  # [T], the tokens of each piece in a drawn order, of rules that draw one


class Bits:
    """The random bits of the tokens by purpose: all that are needed are drawn in one launch."""

    def __init__(self, key: Key, text: Text, purposes: list[Purpose]) -> None:
        numbers = [int(purpose) for purpose in purposes]
        drawn = triton_units.unit_bits(
            key, text.positions, text.sample_offsets, len(text.tokens), numbers, text.longest_sample
        )
        self._of = dict(zip(purposes, drawn, strict=True))

    def __getitem__(self, purpose: Purpose) -> torch.Tensor:
        """int64 [T] in 0 .. 2**32 - 1."""
        return self._of[purpose]


@dataclass(frozen=True)
class Tables:
    """The plan's tables on the device, int64; by the piece's length or the number of units, [window + 1]."""

    num_selected: torch.Tensor
    most_spans: torch.Tensor
    share_of_units: torch.Tensor
    lengths: torch.Tensor  # a cumulative table of span or run lengths
    log2: torch.Tensor
    ordinary: torch.Tensor  # [V]
    similar: torch.Tensor  # [V, m]


Rule = Callable[[Any, Text, Bits, Tables], Spans]


def t5_spans(select: T5Spans, text: Text, bits: Bits, tables: Tables) -> Spans:
    """Cuts of the noise and of the rest, both drawn from the tokens in turn, give starts and stops."""
    free = select.edges == "free"
    noise_P, spans_P = tables.num_selected[text.lengths], tables.most_spans[text.lengths]
    noise, spans, length = noise_P[text.piece], spans_P[text.piece], text.lengths[text.piece]
    of_noise = torch.where(spans > 0, noise - 1, 0)
    of_rest = torch.where(spans > 0, length - noise + (1 if free else -1), 0)
    inner = (spans - 1).clamp(min=0)
    in_noise, in_rest = text.index < of_noise, (text.index >= of_noise) & (text.index < of_noise + of_rest)
    segment = torch.where(in_noise, 0, torch.where(in_rest, 1, 2))
    firsts = text.start + torch.where(in_noise, 0, torch.where(in_rest, of_noise, of_noise + of_rest))
    wanted = torch.where(in_noise, inner, torch.where(in_rest, spans if free else inner, 0))
    cuts = smallest_k(bits[Purpose.SELECT], 3 * text.piece + segment, firsts, wanted)
    # Cut number j of either kind goes to place j of the piece's tokens.
    places, offsets = text.start + sums_before(cuts, firsts), text.index - firsts + text.start
    noise_cuts = put(len(cuts), 0, places, offsets, cuts & in_noise)
    rest_cuts = put(len(cuts), 0, places, offsets, cuts & in_rest)
    first, last = text.index == 0, text.index == spans - 1
    before = torch.where(first, 0, torch.cat([noise_cuts[:1], noise_cuts[:-1]]) + 1)
    after = torch.where(last, noise, noise_cuts + 1)
    gaps = rest_cuts if free else torch.where(last, length - noise, rest_cuts + 1)
    return _from_lists(text, gaps + before, gaps + after, text.index < spans)


def each_token(select: Any, text: Text, bits: Bits, tables: Tables) -> Spans:
    """Bits below the rate."""
    return _single(text, bits[Purpose.SELECT] < threshold(select.rate))


def exactly_k(select: Any, text: Text, bits: Bits, tables: Tables) -> Spans:
    """The smallest bits."""
    return _single(text, _smallest_of_pieces(text, bits[Purpose.SELECT], tables))


def weighted(select: Any, text: Text, bits: Bits, tables: Tables) -> Spans:
    """The smallest weighted keys (pipeline/corruption/tables.py)."""
    keys = _weighted_keys(bits[Purpose.SELECT], text.columns[WEIGHT], tables.log2)
    return _single(text, _smallest_of_pieces(text, keys, tables))


def permutation_tail(select: Any, text: Text, bits: Bits, tables: Tables) -> Spans:
    """The last of the drawn order."""
    order = order_by_key(bits[Purpose.SELECT], text.piece)
    kept = (text.lengths - tables.num_selected[text.lengths])[text.piece]
    chosen = torch.zeros_like(order, dtype=torch.bool).scatter_(0, order, text.index >= kept)
    spans = _single(text, chosen)
    return Spans(spans.begins, spans.hidden, order)


def drawn_spans(select: Any, text: Text, bits: Bits, tables: Tables) -> Spans:
    """Lengths from a table until the tokens to hide are used up, then gaps for the spans, in that order."""
    noise, most = (table[text.lengths][text.piece] for table in (tables.num_selected, tables.most_spans))
    drawn = _look_up_length(bits[Purpose.LENGTH], tables.lengths) * (text.index < most)
    left = noise - sums_before(drawn, text.start)
    lengths = torch.where(text.index == most - 1, left, torch.minimum(drawn, left))
    taken = (left > 0) & (text.index < most)
    num_spans = exclusive_sums(taken)[text.offsets].diff()[text.piece]
    gaps = torch.where(num_spans > 0, text.lengths[text.piece] - noise + 1, 0)
    behind = text.index >= gaps
    firsts = text.start + torch.where(behind, gaps, 0)
    chosen = smallest_k(bits[Purpose.SELECT], 2 * text.piece + behind, firsts, torch.where(behind, 0, num_spans))
    gap_of = put(len(chosen), 0, text.start + sums_before(chosen, text.start), text.index, chosen)
    starts = gap_of + sums_before(torch.where(taken, lengths, 0), text.start)
    return _from_lists(text, starts, starts + lengths, taken)


def suffix(select: Any, text: Text, bits: Bits, tables: Tables) -> Spans:
    """One span from a drawn place on."""
    length = text.lengths[text.piece]
    kept = 1 + ((bits[Purpose.SELECT][text.start] * (length - 1)) >> 32)
    return _from_tokens(text, (text.index == kept) & (length > 1), (text.index >= kept) & (length > 1))


def units(select: Any, text: Text, bits: Bits, tables: Tables) -> Spans:
    """Units by the marks of a column, chosen by one of three rules; a chosen unit is a span."""
    marks = text.columns[select.marks]
    cuts = (marks != CONTINUES) | (text.index == 0)
    wanted = cuts & (marks != OUTSIDE)
    if isinstance(select, NGrams):
        cuts = wanted = _joined(text, wanted, _look_up_length(bits[Purpose.LENGTH], tables.lengths))
    keys = torch.where(wanted, bits[Purpose.SELECT], _NO_UNIT)
    counts = exclusive_sums(wanted)[text.offsets].diff()
    if select.how == "each":
        chosen = wanted & (keys < threshold(select.rate))
    elif select.how == "units":
        shares = tables.share_of_units[counts].clamp(max=getattr(select, "max_spans", len(tables.share_of_units)))
        chosen = smallest_k(keys, text.piece, text.start, shares[text.piece])
    else:
        chosen = _fitting(text, order_by_key(keys, text.piece), counts, cuts, tables)
    return _from_tokens(text, chosen, chosen[last_marked(cuts)])


SELECTS: dict[str, tuple[Rule, tuple[Purpose, ...]]] = {
    "t5_spans": (t5_spans, (Purpose.SELECT,)),
    "each_token": (each_token, (Purpose.SELECT,)),
    "exactly_k": (exactly_k, (Purpose.SELECT,)),
    "weighted": (weighted, (Purpose.SELECT,)),
    "permutation_tail": (permutation_tail, (Purpose.SELECT,)),
    "poisson_spans": (drawn_spans, (Purpose.SELECT, Purpose.LENGTH)),
    "geometric_spans": (drawn_spans, (Purpose.SELECT, Purpose.LENGTH)),
    "suffix": (suffix, (Purpose.SELECT,)),
    "whole_words": (units, (Purpose.SELECT,)),
    "ngrams": (units, (Purpose.SELECT, Purpose.LENGTH)),
    "given_spans": (units, (Purpose.SELECT,)),
}


def unit_starts(text: Text, column: str) -> torch.Tensor:
    """bool [T]: where a unit begins, of marks without text between units."""
    return (text.columns[column] != CONTINUES) | (text.index == 0)


def _single(text: Text, chosen: torch.Tensor) -> Spans:
    return _from_tokens(text, chosen, chosen)


def _from_tokens(text: Text, begins_T: torch.Tensor, hidden_T: torch.Tensor) -> Spans:
    """Spans that each have a token."""
    begins, hidden = (put(text.num_gaps, 0, text.gap, each.long(), each).bool() for each in (begins_T, hidden_T))
    return Spans(begins, hidden)


def _from_lists(text: Text, starts: torch.Tensor, stops: torch.Tensor, valid: torch.Tensor) -> Spans:
    """The spans starts:stops of the tokens' own pieces, where `valid`; all [T]."""
    first = text.gap_offsets[text.piece]
    begins = put(text.num_gaps, 0, first + starts, 1, valid).bool()
    changes = text.zeros(text.num_gaps + 1)
    for places, change in ((starts, 1), (stops, -1)):
        changes.scatter_add_(0, torch.where(valid, first + places, text.num_gaps), torch.full_like(starts, change))
    return Spans(begins, changes[:-1].cumsum(0) > 0)


def _smallest_of_pieces(text: Text, keys: torch.Tensor, tables: Tables) -> torch.Tensor:
    return smallest_k(keys, text.piece, text.start, tables.num_selected[text.lengths][text.piece])


def _look_up_length(bits: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    return torch.searchsorted(table, bits, right=True).clamp(max=len(table) - 1)


def _weighted_keys(bits: torch.Tensor, weights: torch.Tensor, log2: torch.Tensor) -> torch.Tensor:
    value = bits + 1
    exponent = (torch.frexp(value.double()).exponent - 1).long()  # exact: value fits 53 bits
    mantissa = (value << (32 - exponent)) & (_ONE - 1)
    segment, fraction = mantissa >> 22, mantissa & ((1 << 22) - 1)
    log2_value = (exponent << 26) + log2[segment] + (((log2[segment + 1] - log2[segment]) * fraction) >> 22)
    negative = ((32 << 26) - log2_value).clamp(min=1)
    return torch.where(weights == 0, _ONE - 1, (2 * negative - 2) // weights.clamp(min=1))


def _joined(text: Text, words: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Where runs of words begin, each as many words as its first token drew, from the left."""
    counts = exclusive_sums(words)[text.offsets].diff()
    here = torch.arange(len(words), device=words.device)
    starts = put(len(words), 0, text.start + sums_before(words, text.start), here, words)
    begins = text.zeros(len(words))
    triton_units.for_each_piece(triton_units.join_units, text.offsets, counts, starts, lengths, begins)
    return begins.bool()


def _fitting(text: Text, order: torch.Tensor, counts: torch.Tensor, cuts: torch.Tensor, tables: Tables) -> torch.Tensor:
    """The units taken in `order`, each that still fits, at their first tokens."""
    stops = torch.minimum(next_marked(cuts), text.offsets[1:][text.piece])
    sizes = stops - torch.arange(len(stops), device=stops.device)
    chosen = text.zeros(len(stops))
    room = tables.num_selected[text.lengths]
    triton_units.for_each_piece(triton_units.fit_units, text.offsets, counts, room, order, sizes, chosen)
    return chosen.bool()
