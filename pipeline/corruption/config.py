"""What the `corruption:` section may say: one select, one replace, one layout, combined freely."""

from typing import Annotated

from pydantic import Field

from data_prep.errors import InputError
from data_prep.section import Section
from pipeline.corruption.bounds import most_rows
from pipeline.corruption.layout import FullReconstruction, InPlace, SentinelTargets, VisibleOnly
from pipeline.corruption.replace import Dropped, MaskPerSpan, SentinelPerSpan, TokenByToken
from pipeline.corruption.select import T5Spans
from pipeline.corruption.select_spans import GeometricSpans, PoissonSpans, Suffix
from pipeline.corruption.select_tokens import EachToken, ExactlyK

_KIND = Field(discriminator="kind")


class CorruptionConfig(Section):
    """Which tokens are taken out, what stands there instead, and what encoder, decoder and loss get."""

    select: Annotated[T5Spans | EachToken | ExactlyK | PoissonSpans | GeometricSpans | Suffix, _KIND] = T5Spans()
    replace: Annotated[SentinelPerSpan | MaskPerSpan | TokenByToken | Dropped, _KIND] = SentinelPerSpan()
    layout: Annotated[SentinelTargets | FullReconstruction | InPlace | VisibleOnly, _KIND] = SentinelTargets()

    def check(self, window: int, max_pieces: int, num_sentinels: int) -> None:
        """Raise InputError if this corruption cannot work on windows of this size, whatever the text."""
        if window < 2:
            raise InputError(
                f"stream.window: {window} token(s) leave nothing to hide. Use at least 2, usually 512 or more."
            )
        if max_pieces < 1:
            raise InputError(f"stream.max_pieces: {max_pieces} is too few; a window holds at least 1 piece.")
        if self.layout.needs_length and not self.replace.keeps_length:
            raise InputError(
                f"corruption: layout {self.layout.kind} needs a token for each selected one, which replace "
                f"{self.replace.kind} does not give. Use replace token_by_token, or another layout."
            )
        self.replace.check(self.select.budget(window), num_sentinels)

    def max_rows(self, window: int, max_pieces: int) -> dict[str, int]:
        """The most rows a window can have in each view (tight): the static shape of one sample."""
        selected = self.select.budget(window)
        tables = self.layout.rows(selected, self.replace.budget(selected))
        return {view: most_rows(table, max_pieces) for view, table in tables.items()}

    def max_targets(self, window: int, max_pieces: int) -> int:
        """The most labels a window can have (tight)."""
        selected = self.select.budget(window)
        return most_rows(self.layout.targets(selected, self.replace.budget(selected)), max_pieces)
