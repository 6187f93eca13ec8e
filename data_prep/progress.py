"""How a preparation tells its watcher where it is. The command line shows bars; a log gets plain lines."""

import time
from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Receives what happens, from one thread, stage after stage."""

    def start(self, stage: str, total_bytes: int) -> None:
        """A stage begins that has `total_bytes` of input to work on (what was done before is not counted)."""

    def advance(self, num_bytes: int, num_documents: int, num_tokens: int) -> None:
        """A task of the stage has finished."""

    def finish(self) -> None:
        """The stage is done."""

    def note(self, message: str) -> None:
        """Something a person should know (a smaller vocabulary, skipped documents)."""


class PlainProgress:
    """One line at the end of each stage, and the notes, to `write`."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def start(self, stage: str, total_bytes: int) -> None:
        """See Progress."""
        self._stage, self._started = stage, time.monotonic()
        self._bytes = self._documents = self._tokens = 0

    def advance(self, num_bytes: int, num_documents: int, num_tokens: int) -> None:
        """See Progress."""
        self._bytes += num_bytes
        self._documents += num_documents
        self._tokens += num_tokens

    def finish(self) -> None:
        """See Progress."""
        seconds = time.monotonic() - self._started
        counted = [
            *([_size(self._bytes)] if self._bytes else []),
            *([_counted(self._documents, "document")] if self._documents else []),
            *([_counted(self._tokens, "token")] if self._tokens else []),
        ]
        self._write(f"{self._stage}: {', '.join(counted) + ' in ' if counted else ''}{seconds:.1f} s")

    def note(self, message: str) -> None:
        """See Progress."""
        self._write(message)


def _size(num_bytes: int) -> str:
    return f"{num_bytes:,} bytes" if num_bytes < 10**5 else f"{num_bytes / 1e6:.1f} MB"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class NoProgress:
    """Nobody watches."""

    def start(self, stage: str, total_bytes: int) -> None:
        """Nothing."""

    def advance(self, num_bytes: int, num_documents: int, num_tokens: int) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""
