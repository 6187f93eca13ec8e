"""Bars for preprocessing on a terminal; plain lines where the output is a file."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from data_prep.progress import PlainProgress
from launch.terminal import console, count, detail


class LogProgress(PlainProgress):
    """A line per stage. What a person should know is told once, in the stage's summary."""

    def __init__(self) -> None:
        super().__init__(detail)

    def note(self, message: str) -> None:
        """See data_prep.progress.Progress."""


class TerminalProgress(LogProgress):
    """A bar per stage with documents, MB/s and tokens/s; when a stage ends its line stays."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: Progress | None = None
        self._task: TaskID | None = None

    def start(self, stage: str, total_bytes: int) -> None:
        """See data_prep.progress.Progress."""
        super().start(stage, total_bytes)
        self._bars = Progress(
            TextColumn(f"{'':<9} {{task.description:<16}}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._bars.start()
        self._task = self._bars.add_task(stage, total=total_bytes or None, counts="")

    def advance(self, num_bytes: int, num_documents: int, num_tokens: int) -> None:
        """See data_prep.progress.Progress."""
        super().advance(num_bytes, num_documents, num_tokens)
        assert self._bars is not None
        assert self._task is not None
        speed = self._bars.tasks[0].finished_speed or self._bars.tasks[0].speed or 0.0
        counts = f"{count(self._documents)} documents, {count(self._tokens)} tokens, {speed / 1e6:.1f} MB/s"
        self._bars.update(self._task, advance=num_bytes, counts=counts)

    def finish(self) -> None:
        """See data_prep.progress.Progress."""
        self.close()
        super().finish()

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bars is not None:
            self._bars.stop()


@contextmanager
def preparation_progress() -> Iterator[LogProgress]:
    """The progress that fits where standard output goes; the terminal is left in order whatever happens."""
    if not console.is_terminal:
        yield LogProgress()
        return
    progress = TerminalProgress()
    try:
        yield progress
    finally:
        progress.close()
