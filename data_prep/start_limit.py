"""A time limit for starting a cluster: `ray.init` waits without end for a process of its own that hangs or was stopped.

1. After the limit the processes of that cluster are killed: those whose command line names its session folder. What
   waits for them then raises, and the caller may try again.
2. Where even that does not end the wait, this process ends, and `last_words` speaks for it.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

GRACE_SECONDS = 60.0  # Ray itself waits half a minute for some of its processes


@contextlib.contextmanager
def ended_after(seconds: float, folder: Path) -> Iterator[None]:
    """Let the block take at most `seconds`; TimeoutError if it took longer. `folder` is Ray's session folder."""
    done, expired = threading.Event(), threading.Event()
    watch = threading.Thread(target=_watch, args=(done, expired, seconds, folder), daemon=True)
    watch.start()
    try:
        yield
    except Exception as error:
        if expired.is_set():
            raise TimeoutError(f"it took longer than {seconds:.0f} seconds") from error
        raise
    finally:
        done.set()
        watch.join()
    if expired.is_set():
        raise TimeoutError(f"it took longer than {seconds:.0f} seconds")


def processes_of(folder: Path) -> list[int]:
    """The processes whose command line names the folder, this one left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            if os.fsencode(folder) in path.read_bytes():
                found.append(int(path.parent.name))
    return [process for process in found if process != os.getpid()]


def _watch(done: threading.Event, expired: threading.Event, seconds: float, folder: Path) -> None:
    if done.wait(seconds):
        return
    expired.set()
    for process in processes_of(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    if not done.wait(GRACE_SECONDS):
        os._exit(1)
