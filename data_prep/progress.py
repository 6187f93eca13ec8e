"""How a preparation tells its watcher where it is. The command line shows bars; a log gets plain lines."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

FIRST_WORD_SECONDS, WORD_SECONDS = 5.0, 15.0  # how long a stage is silent at first, and between two lines


class Progress(Protocol):
    """Receives what happens, from one thread, stage after stage."""

    def start(self, stage: str, total_bytes: int) -> None:
        """A stage begins that has `total_bytes` of input to work on (what was done before is not counted)."""

    def advance(self, num_bytes: int, num_documents: int, num_tokens: int, num_errors: int) -> None:
        """A task of the stage has finished."""

    def finish(self) -> None:
        """The stage is done."""

    def note(self, message: str) -> None:
        """Something a person should know (a smaller vocabulary, skipped documents)."""


@dataclass
class Counts:
    """What a stage has done so far, and how fast."""

    stage: str
    total_bytes: int
    bytes: int = 0
    documents: int = 0
    tokens: int = 0
    errors: int = 0
    seconds: float = 0.0

    def done(self) -> str:
        """What was counted: `12.1 MB, 731 documents, 16 tokens, 2 errors`."""
        counted = [
            *([_size(self.bytes)] if self.bytes else []),
            *([_counted(self.documents, "document")] if self.documents else []),
            *([_counted(self.tokens, "token")] if self.tokens else []),
            *([_counted(self.errors, "error")] if self.errors else []),
        ]
        return ", ".join(counted)

    def rates(self) -> str:
        """`4.0 MB/s, 250 documents/s, 9,000 tokens/s`; nothing before there is anything."""
        if not self.seconds:
            return ""
        rates = [
            *([f"{self.bytes / self.seconds / 1e6:.1f} MB/s"] if self.bytes else []),
            *([f"{self.documents / self.seconds:,.0f} documents/s"] if self.documents else []),
            *([f"{self.tokens / self.seconds:,.0f} tokens/s"] if self.tokens else []),
        ]
        return ", ".join(rates)

    def left(self) -> float | None:
        """Seconds that the rest will take at this rate; None where nobody can tell."""
        if not self.bytes or not self.total_bytes:
            return None
        return self.seconds * max(self.total_bytes - self.bytes, 0) / self.bytes


class PlainProgress:
    """To `write`: one line at the end of each stage, one every few seconds of a long stage, and the notes."""

    def __init__(
        self,
        write: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        first_word: float = FIRST_WORD_SECONDS,
    ) -> None:
        self._write, self._clock, self._first_word = write, clock, first_word
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._counts = Counts("", 0)
        self._started = 0.0

    def start(self, stage: str, total_bytes: int) -> None:
        """See Progress."""
        self._counts, self._started = Counts(stage, total_bytes), self._clock()
        self._ended = threading.Event()
        threading.Thread(target=self._tell, args=(self._ended,), daemon=True).start()

    def advance(self, num_bytes: int, num_documents: int, num_tokens: int, num_errors: int) -> None:
        """See Progress."""
        with self._lock:
            self._counts.bytes += num_bytes
            self._counts.documents += num_documents
            self._counts.tokens += num_tokens
            self._counts.errors += num_errors

    def finish(self) -> None:
        """See Progress."""
        counts = self.counts()
        with self._lock:
            self._ended.set()
            done = counts.done()
            self._write(f"{counts.stage}: {f'{done} in ' if done else ''}{counts.seconds:.1f} s")

    def note(self, message: str) -> None:
        """See Progress."""
        with self._lock:
            self._write(message)

    def close(self) -> None:
        """Say nothing more, whatever the stage was doing."""
        self._ended.set()

    def counts(self) -> Counts:
        """The stage's counts up to now."""
        self._counts.seconds = self._clock() - self._started
        return self._counts

    def tell(self) -> None:
        """Write how far the stage is."""
        counts, left = self.counts(), self._counts.left()
        share = f"{counts.bytes / counts.total_bytes:.0%} of {_size(counts.total_bytes)}" if counts.total_bytes else ""
        parts = [share, counts.done(), counts.rates(), "" if left is None else f"about {left:.0f} s left"]
        told = "; ".join(part for part in parts if part)
        self._write(f"{counts.stage}: {counts.seconds:.0f} s so far{f' ({told})' if told else ''}")

    def _tell(self, ended: threading.Event) -> None:
        """Tell every few seconds until the stage has ended."""
        wait = self._first_word
        while not ended.wait(wait):
            wait = WORD_SECONDS
            with self._lock:
                if not ended.is_set():
                    self.tell()


def _size(num_bytes: int) -> str:
    return f"{num_bytes:,} bytes" if num_bytes < 10**5 else f"{num_bytes / 1e6:.1f} MB"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class NoProgress:
    """Nobody watches."""

    def start(self, stage: str, total_bytes: int) -> None:
        """Nothing."""

    def advance(self, num_bytes: int, num_documents: int, num_tokens: int, num_errors: int) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""
