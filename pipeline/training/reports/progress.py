"""The progress of training for a person: step, loss, tokens/s, share of peak, data wait, time left.

On a terminal two lines that change; elsewhere a plain line every `log_every` steps. Every line stands below the heading
that the command line prints for the stage.
"""

import os
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.training.loop import StepReport
from pipeline.training.throughput import Peak

INDENT = 10
_REMEMBERED_STEPS = 50
_BAR_WIDTH = 30


class ProgressLine:
    """What a person sees of training. Ranks other than 0 have none."""

    def __init__(
        self,
        stream: TextIO,
        steps: int,
        first_step: int,
        log_every: int,
        peak: Peak,
        clock: Callable[[], float] = time.monotonic,
        flops_of_step: float = 0.0,
    ) -> None:
        """`peak` and `flops_of_step`, which may change, are those of one rank."""
        self._stream, self._steps, self._log_every = stream, steps, log_every
        self.flops_of_step, self.peak = flops_of_step, peak
        self._pace = Pace(clock)
        self._live = _live(stream)
        if self._live is not None:
            self._live.update(self._display(first_step, "", ""))
            self._live.start()
            self._live.console.show_cursor(True)  # a rank that is killed could not give a hidden one back

    def step(self, report: StepReport) -> None:
        """Show a step."""
        self._pace.step(report.seconds)
        done = report.progress.step
        left = f"{format_duration((self._steps - done) * self._pace.seconds_between_steps)} left"
        figures = self._figures(report)
        if self._live is not None:
            _fit(self._live.console, self._stream)
            self._live.update(self._display(done, left, figures))
        elif done % self._log_every == 0 or done == self._steps:
            self.say(f"step {done}/{self._steps}  {figures}  {left}")

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live is not None:
            self._live.console.print(indented(text), highlight=False, markup=False, soft_wrap=True)
        else:
            print(indented(text), file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the last state standing."""
        if self._live is not None:
            self._live.stop()

    def _figures(self, report: StepReport) -> str:
        seconds = self._pace.seconds_of_step
        share = self.peak.share(self.flops_of_step / seconds)
        return (
            f"loss {report.loss:.4f}  {report.tokens / seconds:,.0f} tokens/s  "
            f"{share:.1%} of peak  data wait {report.data_wait_seconds / report.seconds:.1%}"
        )

    def _display(self, done: int, left: str, figures: str) -> Padding:
        first = Table.grid(padding=(0, 2, 0, 0))
        bar = ProgressBar(total=self._steps, completed=done, width=_BAR_WIDTH)
        first.add_row(Text(f"step {done}/{self._steps}"), bar, Text(left))
        second = Text(figures, no_wrap=True, overflow="ellipsis")
        return Padding(Group(first, second), (0, 0, 0, INDENT))


class Pace:
    """How long recent steps took, without the first of this start: it warms caches and waits for the first batch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first_seconds = 0.0
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED_STEPS)
        self._ends: deque[float] = deque(maxlen=_REMEMBERED_STEPS + 1)

    def step(self, seconds: float) -> None:
        """A step that took `seconds` has just ended."""
        if self._ends:
            self._seconds.append(seconds)
        else:
            self._first_seconds = seconds
        self._ends.append(self._clock())

    @property
    def seconds_of_step(self) -> float:
        """The median step."""
        return statistics.median(self._seconds) if self._seconds else self._first_seconds

    @property
    def seconds_between_steps(self) -> float:
        """From the end of a step to the end of the next on average: evaluations and saves in between count."""
        between = len(self._ends) - 1
        return (self._ends[-1] - self._ends[0]) / between if between > 0 else self._first_seconds


def indented(text: str) -> str:
    """`text` below a stage's heading."""
    return f"{'':<{INDENT}}{text}"


def format_duration(seconds: float) -> str:
    """65 as '1:05', 3725 as '1:02:05'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _live(stream: TextIO) -> Live | None:
    """A display on `stream` alone (what this process's own standard output gets is a log); None where none can be."""
    console = Console(file=stream)
    if not (stream.isatty() and console.is_interactive):
        return None
    _fit(console, stream)
    return Live(console=console, redirect_stdout=False, redirect_stderr=False)


def _fit(console: Console, stream: TextIO) -> None:
    """Make `console` as wide as the terminal is now (by itself it asks standard output, which is a log)."""
    columns, lines = os.get_terminal_size(stream.fileno())
    if columns and lines:
        console.size = (columns, lines)
