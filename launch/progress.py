"""Bars for preprocessing on a terminal; plain lines where the output is a file."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from data_prep.progress import PlainProgress
from launch.terminal import console, count, detail


class LogProgress(PlainProgress):
    """Plain lines. What a person should know is told once, in the stage's summary."""

    def __init__(self) -> None:
        super().__init__(detail)

    def note(self, message: str) -> None:
        """See data_prep.progress.Progress."""


class TerminalProgress(LogProgress):
    """A bar per stage with documents, tokens, errors, rates and the time left; when a stage ends its line stays."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: Progress | None = None
        self._task: TaskID | None = None

    def start(self, stage: str, total_bytes: int) -> None:
        """See data_prep.progress.Progress."""
        super().start(stage, total_bytes)
        self._bars = Progress(
            TextColumn(f"{'':<9} {{task.description}}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=console,
            transient=True,
        )
        self._bars.start()
        self._task = self._bars.add_task(stage, total=total_bytes or None, told="")

    def advance(self, num_bytes: int, num_documents: int, num_tokens: int, num_errors: int) -> None:
        """See data_prep.progress.Progress."""
        super().advance(num_bytes, num_documents, num_tokens, num_errors)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=num_bytes, told=self._told())

    def finish(self) -> None:
        """See data_prep.progress.Progress."""
        self.close()
        super().finish()

    def tell(self) -> None:
        """Nothing: the bar tells it."""

    def close(self) -> None:
        """Take the bar off the terminal."""
        super().close()
        if self._bars is not None:
            self._bars.stop()

    def _told(self) -> str:
        counts = self.counts()
        per_second = 1 / max(counts.seconds, 1e-3)
        told = [
            f"{count(counts.documents)} documents ({count(counts.documents * per_second)}/s)",
            f"{counts.bytes * per_second / 1e6:.1f} MB/s",
            *([f"{count(counts.tokens * per_second)} tokens/s"] if counts.tokens else []),
            *([f"{counts.errors:,} errors"] if counts.errors else []),
            *([f"{left:.0f} s left"] if (left := counts.left()) is not None else []),
        ]
        return ", ".join(told)


@contextmanager
def preparation_progress() -> Iterator[LogProgress]:
    """The progress that fits where standard output goes; the terminal is left in order whatever happens."""
    progress = TerminalProgress() if console.is_terminal else LogProgress()
    try:
        yield progress
    finally:
        progress.close()
