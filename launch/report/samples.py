"""What the model wrote for held-out samples, over time: each sample once, with a line for every time it was asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_MOST_LINES = 8


@dataclass(frozen=True)
class Written:
    """One place that was asked about: what the model said, and whether that is right."""

    text: str
    right: bool


@dataclass(frozen=True)
class ShownSample:
    """A held-out sequence. `lines`: (step, what was written at each place, share right), the oldest first."""

    reads: dict[str, list[str]]
    wanted: list[str]
    lines: list[tuple[int, list[Written], float]]


def shown_samples(records: Sequence[dict[str, Any]]) -> list[ShownSample]:
    """The samples of the newest record, with what earlier ones say of the same."""
    if not records:
        return []
    return [_shown(number, sample, records) for number, sample in enumerate(records[-1]["samples"])]


def _shown(number: int, sample: dict[str, Any], records: Sequence[dict[str, Any]]) -> ShownSample:
    lines = []
    for record in _spread(records):
        asked = record["samples"][number]["asked"] if number < len(record["samples"]) else []
        if [place["label"] for place in asked] == [place["label"] for place in sample["asked"]]:
            written = [_written(place) for place in asked]
            right = sum(place.right for place in written) / max(1, len(written))
            lines.append((record["step"], written, right))
    return ShownSample(sample["reads"], [place["label"] for place in sample["asked"]], lines)


def _written(place: dict[str, str | None]) -> Written:
    said, label, read = place["predicted"], place["label"], place["read"]
    if said is None:  # token detection: taken for the original
        return Written("kept", read == label)
    return Written(said, said == label or (said == read and read != label))


def _spread(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few of many, the first and the last among them."""
    if len(records) <= _MOST_LINES:
        return list(records)
    return [records[round(n * (len(records) - 1) / (_MOST_LINES - 1))] for n in range(_MOST_LINES)]
