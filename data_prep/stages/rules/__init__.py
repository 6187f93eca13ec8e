"""The rules of `data_prep.stages.clean`, a file per family, and what they and other stages take for words."""

from typing import NamedTuple


class Finding(NamedTuple):
    """What speaks against a document. `reason` is one word to count by, `detail` is what to show."""

    reason: str
    detail: str


def too_high(reason: str, share: float, limit: float | None, what: str) -> Finding | None:
    """A finding if `share` is more than `limit`; a limit of None switches the rule off."""
    return (
        Finding(reason, f"{what}: {_shown(share)}, more than {limit}") if limit is not None and share > limit else None
    )


def too_low(reason: str, share: float, limit: float | None, what: str) -> Finding | None:
    """A finding if `share` is less than `limit`; a limit of None switches the rule off."""
    return (
        Finding(reason, f"{what}: {_shown(share)}, less than {limit}") if limit is not None and share < limit else None
    )


def _shown(share: float) -> str:
    return str(share) if isinstance(share, int) else f"{share:.3g}"
