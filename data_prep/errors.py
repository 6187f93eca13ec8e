"""Errors a user can cause or must know of. Each is one short message: what, where (file, field, line), what to do.

The command line prints `str(error)` and leaves with `error.exit_code`; a traceback only with `--debug`.
"""


class SpanwrightError(Exception):
    """The work failed for a reason the message names (exit code 1)."""

    exit_code = 1


class InputError(SpanwrightError):
    """The user's config, command or data is wrong (exit code 2)."""

    exit_code = 2


class CorruptionError(SpanwrightError):
    """A stored file is short, changed, missing or extra; the message names it (exit code 1)."""


class StoppedEarlyError(SpanwrightError):
    """The work was asked to stop, saved its state, and the same command continues it (exit code 75)."""

    exit_code = 75
