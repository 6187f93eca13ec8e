"""What the `corruption:` section may say: one select, one replace, one layout, combined freely."""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from data_prep.errors import InputError
from data_prep.section import Section
from data_prep.tokenizer.special import NUM_SPARES
from pipeline.corruption.bounds import most_rows
from pipeline.corruption.layout import DECODER, ENCODER, FullReconstruction, InPlace, SentinelTargets, VisibleOnly
from pipeline.corruption.pairs import NextSentence, SentenceOrder
from pipeline.corruption.permuted import Permuted
from pipeline.corruption.reorder import SENTENCES
from pipeline.corruption.replace import Dropped, MaskPerSpan, SentinelPerSpan, TokenByToken
from pipeline.corruption.sampling import Int64Array
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


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class MixturePart(Section):
    """One of the corruptions of a mixture; a share of `weight` of the samples gets it."""

    weight: float = Field(default=1.0, gt=0.0)
    mode: int | None = Field(default=None, ge=0, lt=NUM_SPARES)
    """<spare_MODE> is put before every sequence of the encoder view, for the model to know which part it is."""
    stack: tuple[Literal["encoder", "decoder"], ...] | None = None
    """The only view is the encoder's: these views of the layout one after another, token type 1 on the decoder's."""
    select: _Select = T5Spans()
    replace: _Replace = SentinelPerSpan()
    layout: _Layout = SentinelTargets()

    @property
    def title(self) -> str:
        """What it selects, in the words of its config."""
        said = self.select.model_dump(mode="json", exclude_unset=True, exclude={"kind"})
        return " ".join([self.select.kind, *(f"{name}={_short(value)}" for name, value in said.items())])

    @property
    def corruption(self) -> "CorruptionConfig":
        """The part as a corruption of its own."""
        return CorruptionConfig(select=self.select, replace=self.replace, layout=self.layout)

    def tables(self, window: int) -> dict[str, Int64Array]:
        """The most rows one piece has in each view, by its length."""
        tables = self.corruption.tables(window)
        if self.stack is not None:
            tables = {ENCODER: sum((tables[view] for view in self.stack), start=np.zeros(window + 1, np.int64))}
        if self.mode is not None:
            tables[ENCODER] = tables[ENCODER] + np.minimum(np.arange(window + 1), 1)
        return tables


class CorruptionConfig(Section):
    """Which tokens are taken out, what stands there instead, and what encoder, decoder and loss get.

    With a `second_draw` the layout is in_place, and the decoder gets the same text in place with masks of its own.
    With a `mixture` each sample gets one of its parts, drawn by weight; what a part does not say is as said beside it.
    """

    select: _Select = T5Spans()
    replace: _Replace = SentinelPerSpan()
    layout: _Layout = SentinelTargets()
    second_draw: SecondDraw | None = None
    mixture: tuple[MixturePart, ...] = ()
    mixture_per: Literal["sample", "step"] = "sample"
    """One draw for each sample, or one for all samples of a step."""

    @model_validator(mode="before")
    @classmethod
    def _parts_inherit(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("mixture"), list | tuple):
            return values
        common = {name: values[name] for name in ("select", "replace", "layout") if name in values}
        parts = [{**common, **part} if isinstance(part, dict) else part for part in values["mixture"]]
        return {**values, "mixture": parts}

    @property
    def second(self) -> "CorruptionConfig | None":
        """The corruption whose only view is the decoder's, if it has a draw of its own."""
        if self.second_draw is None:
            return None
        return CorruptionConfig(select=self.second_draw.select, replace=self.second_draw.replace, layout=self.layout)

    @property
    def columns(self) -> tuple[WantedColumn, ...]:
        """The columns of the dataset that this corruption reads, each once."""
        if self.mixture:
            return tuple(dict.fromkeys(column for part in self.mixture for column in part.corruption.columns))
        second = self.second
        return tuple(dict.fromkeys([*self._own_columns, *(second.columns if second else ())]))

    @cached_property
    def views(self) -> tuple[str, ...]:
        """The views there are."""
        return tuple(self.max_rows(2, 1))

    def loader_only(self, segmented: bool) -> str | None:
        """What is made in the loader only, if anything; `segmented`: positions have two levels."""
        if self.mixture:
            return "a mixture is"
        if self.pairs is not None:
            return "pairs are"
        return "positions of two levels (model.positions: bipe) are" if segmented else None

    def check(self, window: int, max_pieces: int, num_sentinels: int, segmented: bool = False) -> None:
        """Raise InputError if this corruption cannot work on windows of this size, whatever the text.

        `segmented`: a view has positions of two levels.
        """
        if window < 2:
            raise InputError(
                f"stream.window: {window} token(s) leave nothing to hide. Use at least 2, usually 512 or more."
            )
        if max_pieces < 1:
            raise InputError(f"stream.max_pieces: {max_pieces} is too few; a window holds at least 1 piece.")
        moved = "a mixture has not" if self.mixture else "pairs move about" if self.pairs is not None else None
        if segmented and moved:
            raise InputError(f"model.positions: bipe numbers sentences, which {moved}. Use another scheme.")
        if self.mixture:
            self._check_mixture(window, max_pieces, num_sentinels)
            return
        self._check_parts_fit()
        self.replace.check(self.select.budget(window), num_sentinels)
        if self.second is not None:
            self.second.check(window, max_pieces, num_sentinels)

    def _check_parts_fit(self) -> None:
        if self.pairs is not None and (self.second_draw is not None or not getattr(self.layout, "ends", False)):
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
        self._check_columns()

    def _check_mixture(self, window: int, max_pieces: int, num_sentinels: int) -> None:
        if self.second_draw is not None:
            raise InputError("corruption: second_draw and mixture are both given. Leave one out.")
        for number, part in enumerate(self.mixture):
            if part.corruption.pairs is not None:
                raise InputError(
                    f"corruption.mixture: part {number} has layout.pairs, which a mixture has no place for."
                )
            try:
                part.corruption.check(window, max_pieces, num_sentinels)
                lacking = [view for view in part.stack or () if view not in part.corruption.views]
            except InputError as error:
                raise InputError(f"corruption.mixture: part {number}: {error}") from None
            if lacking:
                raise InputError(
                    f"corruption.mixture: part {number} stacks the {lacking[0]} view, which layout {part.layout.kind} "
                    "does not give. Use layout sentinel_targets or full_reconstruction, or another stack."
                )
        views = [tuple(part.tables(2)) for part in self.mixture]
        for number, own in enumerate(views):
            if own != views[0]:
                raise InputError(
                    f"corruption.mixture: part {number} gives {' and '.join(own)}, part 0 gives "
                    f"{' and '.join(views[0])}. Use layouts of the same views, or stack them."
                )
        self._check_columns()

    def _check_columns(self) -> None:
        if len({wanted.name for wanted in self.columns}) < len(self.columns):
            where = "the mixture's parts" if self.mixture else "select and second_draw.select"
            raise InputError(f"corruption: {where} ask for spans of different kinds. Use the same kinds.")

    def tables(self, window: int) -> dict[str, Int64Array]:
        """The most rows one piece of 0..window tokens has in each view: [window + 1] each."""
        selected = self.select.budget(window)
        tables = self.layout.rows(selected, self.replace.budget(selected))
        if self.second is not None:
            tables[DECODER] = next(iter(tables.values()))  # the whole text, in both
        return tables

    def max_rows(self, window: int, max_pieces: int) -> dict[str, int]:
        """The most rows a window can have in each view: the static shape of one sample. Tight, but for stacks."""
        most: dict[str, int] = {}
        for part in self.mixture or (self,):
            for view, table in part.tables(window).items():
                most[view] = max(most.get(view, 0), most_rows(table, max_pieces))
        return most

    def max_targets(self, window: int, max_pieces: int) -> int:
        """The most labels a window can have (tight; with a second draw, of either view)."""
        if self.mixture:
            return max(part.corruption.max_targets(window, max_pieces) for part in self.mixture)
        selected = self.select.budget(window)
        own = most_rows(self.layout.targets(selected, self.replace.budget(selected)), max_pieces)
        return max(own, self.second.max_targets(window, max_pieces)) if self.second else own

    def with_paths(self, resolve: Callable[[str], str]) -> "CorruptionConfig":
        """The same corruption with the paths of its files resolved."""
        second = self.second_draw
        if second is not None:
            second = second.model_copy(update={"replace": _with_path(second.replace, resolve)})
        parts = tuple(part.model_copy(update={"replace": _with_path(part.replace, resolve)}) for part in self.mixture)
        own = _with_path(self.replace, resolve)
        return self.model_copy(update={"replace": own, "second_draw": second, "mixture": parts})

    @property
    def writes_after_sentinels(self) -> bool:
        """Whether the decoder writes what was cut out, each span after its sentinel."""
        return all(
            isinstance(part.layout, SentinelTargets) and isinstance(part.replace, SentinelPerSpan)
            for part in self.mixture or (self,)
        )

    @property
    def alignment(self) -> Literal["sentinels", "places", "none"]:
        """Which rows of the views belong under each other when they are shown (pipeline/inspection.py)."""
        if self.writes_after_sentinels:
            return "sentinels"
        both = DECODER in self.views and not self.mixture
        return "places" if both and isinstance(self.layout, InPlace | VisibleOnly) else "none"

    @property
    def _own_columns(self) -> tuple[WantedColumn, ...]:
        reorders = isinstance(self.layout, FullReconstruction) and self.layout.reorder
        return (*self.select.columns, *((WantedColumn(SENTENCES),) if reorders or self.pairs is not None else ()))

    @property
    def pairs(self) -> SentenceOrder | NextSentence | None:
        """How texts become pairs, if they do."""
        return self.layout.pairs if isinstance(self.layout, InPlace) else None

    @property
    def reads_other(self) -> bool:
        """Whether a sample brings a window of other documents with it."""
        return isinstance(self.pairs, NextSentence)


def _with_path(rule: _Replace, resolve: Callable[[str], str]) -> _Replace:
    if not isinstance(rule, TokenByToken) or rule.table is None:
        return rule
    return rule.model_copy(update={"table": resolve(rule.table)})
