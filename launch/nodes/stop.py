"""Stop signals, as launchers take them."""

import signal
import threading
from types import FrameType, TracebackType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopSignals:
    """Within its block: whether this process was told to stop.

    Only a second Ctrl-C means at once: a scheduler may well send the same signal twice, and kills by itself.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            self._before = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def asked(self) -> bool:
        """Save and stop."""
        return bool(self._received)

    @property
    def at_once(self) -> bool:
        """Stop without saving."""
        return self._received.count(signal.SIGINT) > 1

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)
