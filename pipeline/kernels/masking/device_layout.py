"""Replace and lay out on a device: every token finds its own rows by sums, and is written there.

The rules are those of pipeline/corruption/replace.py and layout.py. In a piece, H(i) tokens before token i are hidden,
and F(i) are filled in for the spans up to it. Shape suffixes as in device_text.py; R rows of a view.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.batch import IGNORED_LABEL, Batch
from pipeline.corruption.layout import DECODER, ENCODER
from pipeline.corruption.replace import TokenByToken
from pipeline.corruption.sampling import Purpose
from pipeline.kernels.masking.device_select import Bits, Spans, Tables
from pipeline.kernels.masking.device_text import Text, exclusive_sums, last_marked, next_marked, put_into
from pipeline.kernels.masking.plan import MaskingPlan

_CERTAIN = 1 << 32


class Canvas:
    """The rows of one view: sequence p begins at row offsets[p]; `max_rows` rows for each sample."""

    def __init__(self, plan: MaskingPlan, text: Text, lengths: torch.Tensor, max_rows: int) -> None:
        """`lengths` [P] are the rows of each piece."""
        self.plan, self.text, self.offsets = plan, text, exclusive_sums(lengths)
        self.size = len(text.positions) * max_rows

    def full(self, filler: int) -> torch.Tensor:
        """Rows to be written, and one more for what is not wanted: [R + 1]."""
        return torch.full((self.size + 1,), filler, dtype=torch.int64, device=self.offsets.device)

    def batch(
        self, tokens: torch.Tensor, labels: torch.Tensor | None = None, positions: torch.Tensor | None = None
    ) -> Batch:
        """The view with these rows [R + 1]; positions are the rows' indices in their sequences unless given."""
        text, rows, used = self.text, torch.arange(self.size, device=self.offsets.device), self.offsets[-1]
        piece = torch.searchsorted(self.offsets[1:].contiguous(), rows, right=True)
        samples = torch.arange(len(text.positions) + 1, device=rows.device)
        first_pieces = torch.searchsorted(text.samples, samples)
        sample_offsets = self.offsets[first_pieces]
        sample = torch.searchsorted(sample_offsets[1:].contiguous(), rows, right=True).clamp(
            max=len(text.positions) - 1
        )
        in_tail = rows >= used
        places = rows - self.offsets[piece] if positions is None else positions[:-1]
        unused = len(text.positions) * self.plan.max_pieces - text.num_pieces
        return Batch(
            tokens=tokens[:-1].int(),
            positions=torch.where(in_tail, 0, places).int(),
            cu_seqlens=torch.cat([self.offsets, used.expand(unused)]).int(),
            sample_rows=torch.where(in_tail, 0, rows - sample_offsets[sample]).int(),
            sample_positions=torch.where(in_tail, -1, text.positions[sample]),
            labels=None if labels is None else labels[:-1].int(),
        )

    def shifted_right(self, labels: torch.Tensor) -> torch.Tensor:
        """Each sequence's labels one row later, pad first: [R + 1]."""
        later = torch.where(labels == IGNORED_LABEL, self.plan.special.pad, labels).roll(1)
        return later.scatter_(0, self.offsets, self.plan.special.pad)  # where sequences begin, and the tail


@dataclass(frozen=True)
class Corrupted:
    """What every layout reads: the text, its spans, and the numbers that follow from them."""

    plan: MaskingPlan
    text: Text
    spans: Spans
    replaced: torch.Tensor  # [T], what stands for each token if it is selected, of token_by_token
    original: torch.Tensor  # [T], before sentences were reordered

    @property
    def by_token(self) -> bool:
        """Whether each selected token has one of its own in its place."""
        return isinstance(self.plan.config.replace, TokenByToken)

    @property
    def per_span(self) -> int:
        """Tokens filled in for a span (where they are not as many as it has)."""
        return 0 if self.plan.config.replace.kind == "dropped" else 1

    def hidden_before(self) -> torch.Tensor:
        """H, [G]."""
        return self._within(exclusive_sums(self.spans.hidden)[:-1])

    def spans_up_to(self) -> torch.Tensor:
        """The spans that begin at this gap or before, [G]."""
        return self._within(exclusive_sums(self.spans.begins)[:-1]) + self.spans.begins

    def at_end(self, values: torch.Tensor) -> torch.Tensor:
        """What `values` [G] are at the end of each piece, [P]."""
        return values[self.text.gap_offsets[1:] - 1]

    def fills(self) -> torch.Tensor:
        """What is filled in for the span at each gap, if it is one token: [G]."""
        if self.plan.config.replace.kind == "sentinel_per_span":
            return self.plan.special.first_sentinel - 1 + self.spans_up_to()
        return torch.full_like(self.text.gap_index, self.plan.special.mask)

    def _within(self, sums: torch.Tensor) -> torch.Tensor:
        return sums - sums[self.text.gap_offsets[:-1]][self.text.gap_piece]


def corrupted_text(given: Corrupted, max_rows: int) -> Batch:
    """Text, with what was filled in where spans were, and the end token."""
    text, special = given.text, given.plan.special
    hidden, hidden_T = given.hidden_before(), given.spans.hidden[text.gap]
    filled = hidden if given.by_token else given.spans_up_to() * given.per_span
    num_rows = text.lengths + (text.lengths > 0) - given.at_end(hidden) + given.at_end(filled)
    canvas = Canvas(given.plan, text, num_rows, max_rows)
    first = canvas.offsets[text.gap_piece]
    rows = first + text.gap_index - hidden + filled
    made = canvas.full(special.pad)
    if given.by_token:
        made.scatter_(0, rows[text.gap], torch.where(hidden_T, given.replaced, text.tokens))
    else:
        put_into(made, rows[text.gap], text.tokens, ~hidden_T)
        put_into(made, rows - 1, given.fills(), given.spans.begins & bool(given.per_span))
    return canvas.batch(_ended(canvas, made))


def fills_and_spans(given: Corrupted, max_rows: int) -> Batch:
    """What was filled in for a span, then its tokens, span by span; and the end token."""
    text = given.text
    hidden, hidden_T = given.hidden_before(), given.spans.hidden[text.gap]
    filled = hidden if given.by_token else given.spans_up_to() * given.per_span
    num_rows = (text.lengths > 0) + given.at_end(hidden) + given.at_end(filled)
    canvas = Canvas(given.plan, text, num_rows, max_rows)
    first, made = canvas.offsets[text.gap_piece], canvas.full(IGNORED_LABEL)
    if given.by_token:
        before, behind = _around(given, hidden)
        rows = (first + hidden)[text.gap]
        put_into(made, rows + before, given.replaced, hidden_T)
        put_into(made, rows + behind, text.tokens, hidden_T)
    else:
        put_into(made, (first + hidden + filled)[text.gap], text.tokens, hidden_T)
        put_into(made, first + hidden + filled - 1, given.fills(), given.spans.begins & bool(given.per_span))
    labels = _ended(canvas, made)
    return canvas.batch(canvas.shifted_right(labels), labels)


def original(given: Corrupted, max_rows: int) -> Batch:
    """The whole text and the end token."""
    text = given.text
    canvas = Canvas(given.plan, text, text.lengths + (text.lengths > 0), max_rows)
    made = canvas.full(IGNORED_LABEL)
    labels = _ended(canvas, made.scatter_(0, canvas.offsets[text.piece] + text.index, given.original))
    return canvas.batch(canvas.shifted_right(labels), labels)


def in_place(given: Corrupted, max_rows: int, ends: bool) -> Batch:
    """The text as the rule left it, with labels at the selected places; between cls and sep if `ends`."""
    text, special, hidden_T = given.text, given.plan.special, given.spans.hidden[given.text.gap]
    some = text.lengths > 0
    canvas = Canvas(given.plan, text, text.lengths + 2 * (some & ends), max_rows)
    rows, tokens = canvas.offsets[text.piece] + text.index + ends, canvas.full(special.pad)
    tokens.scatter_(0, rows, torch.where(hidden_T, given.replaced, text.tokens))
    if ends:
        for places, token in ((canvas.offsets[:-1], special.cls), (canvas.offsets[1:] - 1, special.sep)):
            put_into(tokens, places, token, some)
    labels = canvas.full(IGNORED_LABEL).scatter_(0, rows, torch.where(hidden_T, text.tokens, IGNORED_LABEL))
    return canvas.batch(tokens, labels)


def visible(given: Corrupted, max_rows: int, ends: bool) -> Batch:
    """The tokens that were not selected, each at its own position; between cls and sep if `ends`."""
    text, hidden, hidden_T = given.text, given.hidden_before(), given.spans.hidden[given.text.gap]
    some = text.lengths > 0
    canvas = Canvas(given.plan, text, text.lengths - given.at_end(hidden) + 2 * (some & ends), max_rows)
    rows = canvas.offsets[text.piece] + text.index - hidden[text.gap] + ends
    tokens = put_into(canvas.full(given.plan.special.pad), rows, text.tokens, ~hidden_T)
    positions = put_into(canvas.full(0), rows, text.index + ends, ~hidden_T)
    if ends:
        _put_ends(given, tokens, positions, canvas.offsets[:-1], canvas.offsets[1:] - 1)
    return canvas.batch(tokens, positions=positions)


def permuted(given: Corrupted, max_rows: int, ends: bool) -> Batch:
    """The text in the drawn order, the selected tokens last; cls and sep before it if `ends`."""
    text, order, hidden_T = given.text, given.spans.order, given.spans.hidden[given.text.gap]
    assert order is not None, "the config was checked"
    canvas = Canvas(given.plan, text, text.lengths + 2 * ((text.lengths > 0) & ends), max_rows)
    rows = canvas.offsets[text.piece] + text.index + 2 * ends
    shown = torch.where(hidden_T, given.replaced, text.tokens)[order]
    labels = torch.where(hidden_T, text.tokens, IGNORED_LABEL)[order]
    tokens = canvas.full(given.plan.special.pad).scatter_(0, rows, shown)
    positions = canvas.full(0).scatter_(0, rows, text.index[order] + ends)
    if ends:
        _put_ends(given, tokens, positions, canvas.offsets[:-1], canvas.offsets[:-1] + 1)
    return canvas.batch(tokens, canvas.full(IGNORED_LABEL).scatter_(0, rows, labels), positions)


def _put_ends(
    given: Corrupted, tokens: torch.Tensor, positions: torch.Tensor, first_P: torch.Tensor, last_P: torch.Tensor
) -> None:
    """cls and sep of every piece that has tokens, at these rows, with the positions of the text's two ends."""
    lengths, special = given.text.lengths, given.plan.special
    for rows, token, places in ((first_P, special.cls, 0), (last_P, special.sep, lengths + 1)):
        put_into(tokens, rows, token, lengths > 0)
        put_into(positions, rows, places, lengths > 0)


Layout = Callable[[Corrupted, Any, dict[str, int]], dict[str, Batch]]
LAYOUTS: dict[str, Layout] = {
    "sentinel_targets": lambda given, layout, most: {
        ENCODER: corrupted_text(given, most[ENCODER]),
        DECODER: fills_and_spans(given, most[DECODER]),
    },
    "full_reconstruction": lambda given, layout, most: {
        ENCODER: corrupted_text(given, most[ENCODER]),
        DECODER: original(given, most[DECODER]),
    },
    "in_place": lambda given, layout, most: {ENCODER: in_place(given, most[ENCODER], layout.ends)},
    "visible_only": lambda given, layout, most: {
        ENCODER: visible(given, most[ENCODER], layout.ends),
        DECODER: in_place(given, most[DECODER], layout.ends),
    },
    "permuted": lambda given, layout, most: {ENCODER: permuted(given, most[ENCODER], layout.ends)},
}


def draws_replacements(replace: Any) -> bool:
    """Whether what stands for a token is drawn."""
    return isinstance(replace, TokenByToken) and replace.thresholds[0] < _CERTAIN


def replacements(plan: MaskingPlan, tokens: torch.Tensor, bits: Bits, tables: Tables) -> torch.Tensor:
    """What stands for each of `tokens` [T] if it is selected: the mask, a random token, a similar one, or itself."""
    replace = plan.config.replace
    if not isinstance(replace, TokenByToken) or not draws_replacements(replace):
        return torch.full_like(tokens, plan.special.mask)
    kind, which = bits[Purpose.REPLACE], bits[Purpose.RANDOM_TOKEN]
    mask, random, similar = replace.thresholds
    if replace.similar:
        alike = tables.similar[tokens, (which * tables.similar.shape[1]) >> 32]
        tokens = torch.where(kind < similar, alike, tokens)
    drawn = tables.ordinary[(which * len(tables.ordinary)) >> 32]
    tokens = torch.where(kind < random, drawn, tokens)
    return torch.where(kind < mask, plan.special.mask, tokens)


def _ended(canvas: Canvas, made: torch.Tensor) -> torch.Tensor:
    """`made` [R + 1] with the end token at the last row of every sequence that has rows."""
    return put_into(made, canvas.offsets[1:] - 1, canvas.plan.special.eos, canvas.offsets.diff() > 0)


def _around(given: Corrupted, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each token of a span: the hidden tokens before the span, and up to its end, both [T]."""
    gap, begins = given.text.gap, given.spans.begins
    ends = given.text.gap_offsets[1:][given.text.piece] - 1
    following = torch.minimum(next_marked(begins)[gap], ends)
    return hidden[last_marked(begins)[gap]], hidden[following]
