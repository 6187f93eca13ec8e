r"""What encoder, decoder and loss get, for people to read, and put back together to prove that nothing is lost.

Sentinel targets:
1. `align` lays the views of one sequence side by side in columns: text the encoder reads, then under each sentinel the
   span the decoder has to write, in the order of the original text.
2. `recover` reads the original tokens off the same columns.
3. `render` turns them into coloured lines that wrap at the terminal's width. A sentinel (<extra_id_3> shows as ⟨3⟩) and
   its span share a colour; spaces (·), line ends (⏎), tabs (⇥) and single bytes (\xE6) are visible.

Any other layout: each view's tokens with its labels under them, as they are; nothing is claimed to be recovered. Where
both views show the text at its own places (visible_only, a second draw), each place is one column.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.text import Text

from data_prep.tokenizer.special import SpecialTokens
from data_prep.tokenizer.tokenizer import Tokenizer
from data_prep.tokenizer.visible import visible
from pipeline.batch import IGNORED_LABEL, Batch, MicroBatch, Views
from pipeline.corruption.layout import DECODER, ENCODER
from pipeline.corruption.sampling import Int64Array

_SPAN_COLOURS = ("green", "yellow", "magenta", "cyan", "red", "blue")
TARGET = "target"
_ROW_LABEL_WIDTH = max(map(len, (ENCODER, DECODER, TARGET))) + 2

Alignment = Literal["sentinels", "places", "none"]


class Column(NamedTuple):
    """What the views hold at one place of the original text; None where a view has nothing there."""

    encoder: int | None
    decoder: int | None
    target: int | None
    span: int | None  # number of the span in its sequence; None for text that is not hidden


class Row(NamedTuple):
    """What is printed in one line: a token, or nothing, in each column."""

    name: str
    tokens: Sequence[int | None]
    styles: Sequence[str]


def align(views: Views, n: int, special: SpecialTokens) -> list[Column]:
    """The columns of sequence n. ValueError unless encoder and targets have the same sentinels in the same order."""
    encoder, decoder = views[ENCODER], views[DECODER]
    assert decoder.labels is not None, "the decoder view has no labels"
    rows = decoder.sequence(n)
    pairs = list(zip(decoder.tokens[rows].tolist(), decoder.labels[rows].tolist(), strict=True))
    numbers = {token: number for number, token in enumerate(special.sentinels)}
    columns, taken = [], 0
    for token in encoder.tokens[encoder.sequence(n)].tolist():
        number = numbers.get(token)
        if number is None and token != special.eos:
            columns.append(Column(token, None, None, None))
            continue
        if taken == len(pairs) or pairs[taken][1] != token:
            raise ValueError(f"sequence {n}: the encoder has token {token} where the targets have another one or none")
        columns.append(Column(token, *pairs[taken], number))
        taken += 1
        while taken < len(pairs) and pairs[taken][1] not in numbers and pairs[taken][1] != special.eos:
            columns.append(Column(None, *pairs[taken], number))
            taken += 1
    if taken != len(pairs):
        raise ValueError(f"sequence {n}: the targets go on after the encoder's text has ended")
    return columns


def recover(views: Views, special: SpecialTokens) -> list[Int64Array]:
    """The original tokens of every sequence, from encoder view and targets alone; ValueError if they do not fit."""
    reserved = {special.eos, *special.sentinels}
    originals = []
    for n in range(views[ENCODER].num_sequences):
        held = (column.target if column.encoder is None else column.encoder for column in align(views, n, special))
        originals.append(np.array([token for token in held if token not in reserved], np.int64))
    return originals


def render(
    micro_batch: MicroBatch, tokenizer: Tokenizer, samples: int | None = None, alignment: Alignment = "sentinels"
) -> Iterator[RenderableType]:
    """One panel for each sequence of the first `samples` samples (all of them if None).

    `alignment` says which rows of the views belong under each other: those of sentinel targets, those of the same
    place in the text, or none.
    """
    views = micro_batch.views
    shown = set(micro_batch.positions[:samples].tolist())
    for n in range(views[ENCODER].num_sequences):
        position = int(views[ENCODER].sample_positions[views[ENCODER].sequence(n).start])
        if position not in shown:
            continue
        if alignment == "sentinels":
            columns = align(views, n, tokenizer.special)
            body: RenderableType = AlignedRows(_rows_by_sentinel(columns), tokenizer)
            title = _title(columns, position, n)
        else:
            rows = {name: _rows_of_view(name, view, n) for name, view in views.items()}
            body = _by_place(rows, views, n, tokenizer) if alignment == "places" else _separate(rows, tokenizer)
            title = _plain_title(views, position, n)
        yield Panel(body, title=title, title_align="left")


def _rows_by_sentinel(columns: Sequence[Column]) -> list[Row]:
    """Encoder, decoder and target; a sentinel and its span share a colour."""

    def style(column: Column, row: str) -> str:
        if row == "decoder":  # the targets once more, one column later
            return "dim"
        if column.span is None:
            return "" if column.target is None else "dim"
        colour = _SPAN_COLOURS[column.span % len(_SPAN_COLOURS)]
        return f"bold {colour}" if column.encoder is not None else colour

    return [
        Row(name, [getattr(column, name) for column in columns], [style(column, name) for column in columns])
        for name in (ENCODER, DECODER, TARGET)
    ]


def _rows_of_view(name: str, view: Batch, n: int) -> list[Row]:
    """The view's tokens, yellow where they have a label, and its labels, if it has any, in green."""
    rows = view.sequence(n)
    tokens: list[int | None] = view.tokens[rows].tolist()
    if view.labels is None:
        return [Row(name, tokens, [""] * len(tokens))]
    labels = [None if label == IGNORED_LABEL else label for label in view.labels[rows].tolist()]
    asked = ["" if label is None else "yellow" for label in labels]
    return [Row(name, tokens, asked), Row(TARGET, labels, ["bold green"] * len(labels))]


def _separate(rows: Mapping[str, Sequence[Row]], tokenizer: Tokenizer) -> Group:
    return Group(*(AlignedRows(own, tokenizer) for own in rows.values()))


def _by_place(rows: Mapping[str, Sequence[Row]], views: Views, n: int, tokenizer: Tokenizer) -> "AlignedRows":
    """Both views, what stands at one place of the text in one column. A row of the encoder says its place."""
    size = len(rows[DECODER][0].tokens)
    places = views[ENCODER].positions[views[ENCODER].sequence(n)].reshape(len(rows[ENCODER][0].tokens), -1)[:, 0]
    placed = []
    for name, tokens, styles in rows[ENCODER]:
        at: list[int | None] = [None] * size
        styled = [""] * size
        for place, token, style in zip(places.tolist(), tokens, styles, strict=True):
            at[place], styled[place] = token, style
        placed.append(Row(name, at, styled))
    return AlignedRows([*placed, *rows[DECODER]], tokenizer)


class AlignedRows:
    """Rows of one length, cut into blocks as wide as the terminal allows."""

    def __init__(self, rows: Sequence[Row], tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.rows = [(row.name, [self._text(token) for token in row.tokens], row.styles) for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the columns out for the width in `options`."""
        room = max(options.max_width - _ROW_LABEL_WIDTH, 1)
        widths = [max(map(cell_len, column)) for column in zip(*(texts for _, texts, _ in self.rows), strict=True)]
        first = used = 0
        for place, width in enumerate(widths):
            if place > first and used + width > room:
                yield from self._lines(first, widths[first:place])
                yield Text()
                first, used = place, 0
            used += width
        yield from self._lines(first, widths[first:])

    def _lines(self, first: int, widths: Sequence[int]) -> Iterator[Text]:
        block = slice(first, first + len(widths))
        for number, (name, texts, styles) in enumerate(self.rows):
            line = Text(no_wrap=True, overflow="fold")
            line.append(name.ljust(_ROW_LABEL_WIDTH), style="dim")
            for text, style, width in zip(texts[block], styles[block], widths, strict=True):
                line.append(text + " " * (width - cell_len(text)), style=style)
            line.rstrip()
            if number == 0 or any(texts[block]):
                yield line

    def _text(self, token: int | None) -> str:
        if token is None:
            return ""
        sentinels = self.tokenizer.special.sentinels
        return f"⟨{token - sentinels[0]}⟩" if token in sentinels else visible(self.tokenizer.id_to_piece(token))


def _plain_title(views: Views, position: int, n: int) -> str:
    targets = (
        int((view.labels[view.sequence(n)] != IGNORED_LABEL).sum())
        for view in views.values()
        if view.labels is not None
    )
    pairs = views[ENCODER].pair_labels
    asked = IGNORED_LABEL if pairs is None else int(pairs[n])
    pair = "" if asked == IGNORED_LABEL else f", pair {'changed' if asked else 'as in the text'}"
    return f"position {position}, sequence {n}: {sum(targets)} targets{pair}"


def _title(columns: Sequence[Column], position: int, n: int) -> str:
    hidden = sum(column.encoder is None for column in columns)
    spans = sum(column.encoder is not None and column.span is not None for column in columns)
    total = hidden + sum(column.span is None and column.target is None for column in columns)
    unit = "span" if spans == 1 else "spans"
    return f"position {position}, sequence {n}: {hidden} of {total} tokens hidden in {spans} {unit}"
