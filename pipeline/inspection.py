r"""What encoder, decoder and loss get, for people to read, and put back together to prove that nothing is lost.

Sentinel targets:
1. `align` lays the views of one sequence side by side in columns: text the encoder reads, then under each sentinel the
   span the decoder has to write, in the order of the original text.
2. `recover` reads the original tokens off the same columns.
3. `render` turns them into coloured lines that wrap at the terminal's width. A sentinel (<extra_id_3> shows as ⟨3⟩) and
   its span share a colour; spaces (·), line ends (⏎), tabs (⇥) and single bytes (\xE6) are visible.

Any other layout: each view's tokens with its labels under them, as they are; nothing is claimed to be recovered.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.text import Text

from data_prep.tokenizer.special import SpecialTokens
from data_prep.tokenizer.tokenizer import Tokenizer
from data_prep.tokenizer.visible import visible
from pipeline.batch import IGNORED_LABEL, MicroBatch, Views
from pipeline.corruption.layout import DECODER, ENCODER
from pipeline.corruption.sampling import Int64Array

_SPAN_COLOURS = ("green", "yellow", "magenta", "cyan", "red", "blue")
_ROW_NAMES = ("encoder", "decoder", "target")
_OF_VIEW = {ENCODER: (0, 2), DECODER: (1, 2)}  # the rows of a view that is shown by itself
_ROW_LABEL_WIDTH = max(map(len, _ROW_NAMES)) + 2


class Column(NamedTuple):
    """What the views hold at one place of the original text; None where a view has nothing there."""

    encoder: int | None
    decoder: int | None
    target: int | None
    span: int | None  # number of the span in its sequence; None for text that is not hidden


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
    micro_batch: MicroBatch, tokenizer: Tokenizer, samples: int | None = None, aligned: bool = True
) -> Iterator[RenderableType]:
    """One panel for each sequence of the first `samples` samples (all of them if None).

    With `aligned` the views are those of sentinel targets, shown side by side; else every view is shown by itself.
    """
    views = micro_batch.views
    shown = set(micro_batch.positions[:samples].tolist())
    for n in range(views[ENCODER].num_sequences):
        position = int(views[ENCODER].sample_positions[views[ENCODER].sequence(n).start])
        if position in shown and not aligned:
            yield Panel(_separate(views, n, tokenizer), title=_plain_title(views, position, n), title_align="left")
        elif position in shown:
            columns = align(views, n, tokenizer.special)
            yield Panel(_AlignedRows(columns, tokenizer), title=_title(columns, position, n), title_align="left")


def _separate(views: Views, n: int, tokenizer: Tokenizer) -> Group:
    """Each view's tokens, with its labels under them."""
    parts: list[RenderableType] = []
    for name, view in views.items():
        rows = view.sequence(n)
        tokens = view.tokens[rows].tolist()
        labels = [None] * len(tokens) if view.labels is None else view.labels[rows].tolist()
        pairs = [
            (token, None if label == IGNORED_LABEL else label) for token, label in zip(tokens, labels, strict=True)
        ]
        columns = [
            Column(token if name == ENCODER else None, token if name == DECODER else None, label, None)
            for token, label in pairs
        ]
        parts.append(_AlignedRows(columns, tokenizer, _OF_VIEW[name]))
    return Group(*parts)


class _AlignedRows:
    """Rows of `columns` (encoder, decoder, target), cut into blocks as wide as the terminal allows."""

    def __init__(
        self, columns: Sequence[Column], tokenizer: Tokenizer, rows: Sequence[int] = range(len(_ROW_NAMES))
    ) -> None:
        self.columns, self.tokenizer, self.rows = columns, tokenizer, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the columns out for the width in `options`."""
        room = max(options.max_width - _ROW_LABEL_WIDTH, 1)
        block: list[tuple[Column, int]] = []
        used = 0
        for column in self.columns:
            width = max(cell_len(self._text(token)) for token in column[:3])
            if block and used + width > room:
                yield from self._lines(block)
                yield Text()
                block, used = [], 0
            block.append((column, width))
            used += width
        yield from self._lines(block)

    def _lines(self, block: Sequence[tuple[Column, int]]) -> Iterator[Text]:
        for row in self.rows:
            name = _ROW_NAMES[row]
            line = Text(no_wrap=True, overflow="fold")
            line.append(name.ljust(_ROW_LABEL_WIDTH), style="dim")
            for column, width in block:
                text = self._text(column[row])
                line.append(text + " " * (width - cell_len(text)), style=self._style(column, row))
            line.rstrip()
            if row == self.rows[0] or any(column[row] is not None for column, _ in block):
                yield line

    def _text(self, token: int | None) -> str:
        if token is None:
            return ""
        sentinels = self.tokenizer.special.sentinels
        return f"⟨{token - sentinels[0]}⟩" if token in sentinels else visible(self.tokenizer.id_to_piece(token))

    def _style(self, column: Column, row: int) -> str:
        if len(self.rows) < len(_ROW_NAMES):  # a view by itself
            return "bold green" if row == _ROW_NAMES.index("target") else ""
        if row == _ROW_NAMES.index("decoder"):  # the targets once more, one column later
            return "dim"
        if column.span is None:
            return "" if column.target is None else "dim"
        colour = _SPAN_COLOURS[column.span % len(_SPAN_COLOURS)]
        return f"bold {colour}" if column.encoder is not None else colour


def _plain_title(views: Views, position: int, n: int) -> str:
    targets = (
        int((view.labels[view.sequence(n)] != IGNORED_LABEL).sum())
        for view in views.values()
        if view.labels is not None
    )
    return f"position {position}, sequence {n}: {sum(targets)} targets"


def _title(columns: Sequence[Column], position: int, n: int) -> str:
    hidden = sum(column.encoder is None for column in columns)
    spans = sum(column.encoder is not None and column.span is not None for column in columns)
    total = hidden + sum(column.span is None and column.target is None for column in columns)
    unit = "span" if spans == 1 else "spans"
    return f"position {position}, sequence {n}: {hidden} of {total} tokens hidden in {spans} {unit}"
