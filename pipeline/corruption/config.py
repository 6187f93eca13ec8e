"""What the `corruption:` section may say: one select, one replace, one layout, combined freely."""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated

from pydantic import Field

from data_prep.errors import InputError
from data_prep.section import Section
from pipeline.corruption.bounds import most_rows
from pipeline.corruption.layout import DECODER, FullReconstruction, InPlace, SentinelTargets, VisibleOnly
from pipeline.corruption.permuted import Permuted
from pipeline.corruption.reorder import SENTENCES
from pipeline.corruption.replace import Dropped, MaskPerSpan, SentinelPerSpan, TokenByToken
from pipeline.corruption.select import T5Spans
from pipeline.corruption.select_spans import GeometricSpans, PoissonSpans, Suffix
from pipeline.corruption.select_tokens import EachToken, ExactlyK, PermutationTail, Weighted
from pipeline.corruption.select_units import GivenSpans, NGrams, WholeWords
from pipeline.token_columns import WantedColumn

_KIND = Field(discriminator="kind")
_Select = Annotated[
    T5Spans | EachToken | ExactlyK | Weighted | PermutationTail | PoissonSpans | GeometricSpans | Suffix
    | WholeWords | NGrams | GivenSpans,
    _KIND,
]  # fmt: skip
_Replace = Annotated[SentinelPerSpan | MaskPerSpan | TokenByToken | Dropped, _KIND]
_Layout = Annotated[SentinelTargets | FullReconstruction | InPlace | VisibleOnly | Permuted, _KIND]


class SecondDraw(Section):
    """The decoder's own masks, drawn independently of the encoder's (RetroMAE, DupMAE)."""

    select: _Select
    replace: _Replace = TokenByToken(mask=1.0, random=0.0)


class CorruptionConfig(Section):
    """Which tokens are taken out, what stands there instead, and what encoder, decoder and loss get.

    With a `second_draw` the layout is in_place, and the decoder gets the same text in place with masks of its own.
    """

    select: _Select = T5Spans()
    replace: _Replace = SentinelPerSpan()
    layout: _Layout = SentinelTargets()
    second_draw: SecondDraw | None = None

    @property
    def second(self) -> "CorruptionConfig | None":
        """The corruption whose only view is the decoder's, if it has a draw of its own."""
        if self.second_draw is None:
            return None
        return CorruptionConfig(select=self.second_draw.select, replace=self.second_draw.replace, layout=self.layout)

    @property
    def columns(self) -> tuple[WantedColumn, ...]:
        """The columns of the dataset that this corruption reads, each once."""
        second = self.second
        return tuple(dict.fromkeys([*self._own_columns, *(second.columns if second else ())]))

    @cached_property
    def views(self) -> tuple[str, ...]:
        """The views there are."""
        return tuple(self.max_rows(2, 1))

    def check(self, window: int, max_pieces: int, num_sentinels: int) -> None:
        """Raise InputError if this corruption cannot work on windows of this size, whatever the text."""
        if window < 2:
            raise InputError(
                f"stream.window: {window} token(s) leave nothing to hide. Use at least 2, usually 512 or more."
            )
        if max_pieces < 1:
            raise InputError(f"stream.max_pieces: {max_pieces} is too few; a window holds at least 1 piece.")
        self._check_parts_fit()
        self.replace.check(self.select.budget(window), num_sentinels)
        if self.second is not None:
            self.second.check(window, max_pieces, num_sentinels)

    def _check_parts_fit(self) -> None:
        if self._makes_pairs and (self.second_draw is not None or not getattr(self.layout, "ends", False)):
            raise InputError(
                "corruption.layout.pairs: a pair is [CLS] A [SEP] B [SEP] of one text, read by the encoder alone. Use "
                "ends: true without second_draw, or leave pairs out."
            )
        if self.layout.needs_length and not self.replace.keeps_length:
            raise InputError(
                f"corruption: layout {self.layout.kind} needs a token for each selected one, which replace "
                f"{self.replace.kind} does not give. Use replace token_by_token, or another layout."
            )
        if self.layout.needs_order and not self.select.gives_order:
            raise InputError(
                f"corruption: layout {self.layout.kind} shows the tokens in a drawn order, which select "
                f"{self.select.kind} does not draw. Use select permutation_tail, or another layout."
            )
        if self.second_draw is not None and not isinstance(self.layout, InPlace):
            raise InputError(
                f"corruption: second_draw gives the decoder its text in place, which layout {self.layout.kind} does "
                "not. Use layout in_place, or leave second_draw out."
            )
        if len({wanted.name for wanted in self.columns}) < len(self.columns):
            raise InputError(
                "corruption: select and second_draw.select ask for spans of different kinds. Use the same kinds."
            )

    def max_rows(self, window: int, max_pieces: int) -> dict[str, int]:
        """The most rows a window can have in each view (tight): the static shape of one sample."""
        selected = self.select.budget(window)
        tables = self.layout.rows(selected, self.replace.budget(selected))
        if self.second is not None:
            tables[DECODER] = next(iter(tables.values()))  # the whole text, in both
        return {view: most_rows(table, max_pieces) for view, table in tables.items()}

    def max_targets(self, window: int, max_pieces: int) -> int:
        """The most labels a window can have (tight; with a second draw, of either view)."""
        selected = self.select.budget(window)
        own = most_rows(self.layout.targets(selected, self.replace.budget(selected)), max_pieces)
        return max(own, self.second.max_targets(window, max_pieces)) if self.second else own

    def with_paths(self, resolve: Callable[[str], str]) -> "CorruptionConfig":
        """The same corruption with the paths of its files resolved."""
        second = self.second_draw
        if second is not None:
            second = second.model_copy(update={"replace": _with_path(second.replace, resolve)})
        return self.model_copy(update={"replace": _with_path(self.replace, resolve), "second_draw": second})

    @property
    def _own_columns(self) -> tuple[WantedColumn, ...]:
        reorders = isinstance(self.layout, FullReconstruction) and self.layout.reorder
        return (*self.select.columns, *((WantedColumn(SENTENCES),) if reorders or self._makes_pairs else ()))

    @property
    def _makes_pairs(self) -> bool:
        return isinstance(self.layout, InPlace) and self.layout.pairs is not None


def _with_path(rule: _Replace, resolve: Callable[[str], str]) -> _Replace:
    if not isinstance(rule, TokenByToken) or rule.table is None:
        return rule
    return rule.model_copy(update={"table": resolve(rule.table)})
