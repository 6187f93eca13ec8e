"""What the `corruption:` section may say: one select, one replace, one layout, combined freely."""

from data_prep.errors import InputError
from data_prep.section import Section
from pipeline.corruption.bounds import most_rows
from pipeline.corruption.layout import SentinelTargets
from pipeline.corruption.replace import SentinelPerSpan
from pipeline.corruption.select import T5Spans


class CorruptionConfig(Section):
    """Which tokens are taken out, what stands there instead, and what encoder, decoder and loss get."""

    select: T5Spans = T5Spans()
    replace: SentinelPerSpan = SentinelPerSpan()
    layout: SentinelTargets = SentinelTargets()

    def check(self, window: int, max_pieces: int, num_sentinels: int) -> None:
        """Raise InputError if this corruption cannot work on windows of this size, whatever the text."""
        if window < 2:
            raise InputError(
                f"stream.window: {window} token(s) leave nothing to hide. Use at least 2, usually 512 or more."
            )
        if max_pieces < 1:
            raise InputError(f"stream.max_pieces: {max_pieces} is too few; a window holds at least 1 piece.")
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
