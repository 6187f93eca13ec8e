"""A word for this process, should it be ended without one.

Ray's C++ ends its process at once (`_exit`) where one of Ray's own servers is gone: a raylet that is killed while this
process registers with it, a control server that no longer answers. No handler of this process runs then, so another
process says it: a shell that waits until its pipe from here is closed.
"""

import contextlib
import subprocess
from collections.abc import Iterator

# In a session of its own: Ctrl-C is not for it. The leading line feed ends a progress bar's line.
_WAIT = 'read -r _ || printf "\\nerror %s\\n" "$1" >&2'


@contextlib.contextmanager
def last_words(message: str) -> Iterator[None]:
    """Should this process end within the block, `message` goes to standard error; what leaves the block needs none."""
    command = ["sh", "-c", _WAIT, "sh", message]
    watch = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        watch.communicate(b"left\n")
