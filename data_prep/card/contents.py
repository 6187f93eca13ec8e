"""What is left of the corpus, in tables: lengths, languages, sources, duplicates, and what a finish made of it.

Every function takes the summary in the manifest (`data_prep.summary` describes it) and gives rows to show. `width` is
a share of the widest row, 0 to 100.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.pages.words import counted, percent, ratio, short, size

MOST_ROWS = 15  # of a table; the rest is one row
UNKNOWN_LANGUAGE = "unknown"


@dataclass(frozen=True)
class LengthBar:
    """How many documents have about this length."""

    label: str
    title: str
    documents: int
    height: float


@dataclass(frozen=True)
class Row:
    """A row of a table with a bar."""

    name: str
    width: float
    cells: Sequence[str]


@dataclass(frozen=True)
class Duplicates:
    """What one `dedup` stage found."""

    clusters: int
    exact: int
    near: int
    share: str
    size: str


def length_bars(summary: Mapping[str, Any]) -> list[LengthBar]:
    """Documents by length in characters, in powers of two, without gaps."""
    lengths = {int(bits): documents for bits, documents in summary["documents"]["lengths"].items()}
    if not lengths:
        return []
    most = max(lengths.values())
    return [
        _length_bar(bits, lengths.get(bits, 0), 100 * lengths.get(bits, 0) / most)
        for bits in range(min(lengths), max(lengths) + 1)
    ]


def language_rows(summary: Mapping[str, Any]) -> list[Row]:
    """Languages by bytes: documents, text, share, tokens, characters per token."""
    tokens = summary["tokens"]
    found = {name: [*row, *tokens.get(name, [0] * 5)[1:4:2]] for name, row in summary["documents"]["languages"].items()}
    rows = _largest(found, "languages", by=1)
    total = sum(row[1] for row in found.values())
    return [
        Row(
            name or UNKNOWN_LANGUAGE,
            100 * num_bytes / max(rows[0][1][1], 1),
            [
                *(f"{documents:,}", size(num_bytes), percent(num_bytes / max(total, 1))),
                *(short(num_tokens), ratio(characters / num_tokens if num_tokens else None)),
            ],
        )
        for name, (documents, num_bytes, characters, num_tokens) in rows
    ]


def source_rows(summary: Mapping[str, Any]) -> list[Row]:
    """The largest source files: documents, text, share."""
    contents = summary["documents"]
    others = contents["other_sources"]
    total = sum(row[1] for row in contents["sources"].values()) + others[2]
    rows = _largest(contents["sources"], "files", by=1, beyond=others)
    most = max((row[1] for row in contents["sources"].values()), default=1)
    return [
        Row(
            name,
            100 * num_bytes / max(most, 1) if name in contents["sources"] else 0,
            [f"{documents:,}", size(num_bytes), percent(num_bytes / max(total, 1))],
        )
        for name, (documents, num_bytes) in rows
    ]


def duplicates(summary: Mapping[str, Any]) -> list[Duplicates]:
    """What every `dedup` stage found, in order."""
    stages = [stage for stage in summary["stages"] if stage["stage"] == "dedup"]
    found = [row["counts"] for row in summary["reductions"] if (row["stage"], row["name"]) == ("dedup", "components")]
    return [_duplicates(stage, counts) for stage, counts in zip(stages, found, strict=True)]


def common_lines(summary: Mapping[str, Any]) -> int:
    """How many different lines the `boilerplate` stages took out."""
    return sum(row["counts"]["chosen"] for row in summary["reductions"] if row["stage"] == "boilerplate")


def select_rows(summary: Mapping[str, Any]) -> list[Row]:
    """Groups of a `select`: documents and tokens before and after, and how often a token is there on average."""
    counts: dict[str, dict[str, int]] = {}
    for row in summary["reductions"]:
        if (row["stage"], row["name"]) == ("select", "cutoffs"):
            for key, number in row["counts"].items():
                name, _, what = key.rpartition(": ")
                counts.setdefault(name, {})[what] = number
    most = max((row["tokens after"] for row in counts.values()), default=1)
    ordered = sorted(counts.items(), key=lambda item: (-item[1]["tokens after"], item[0]))
    return [Row(name, 100 * row["tokens after"] / max(most, 1), _before_and_after(row)) for name, row in ordered]


def _before_and_after(row: Mapping[str, int]) -> list[str]:
    times = row["tokens after"] / row["tokens"] if row["tokens"] else None
    numbers = [f"{row['documents']:,}", f"{row['documents after']:,}", short(row["tokens"]), short(row["tokens after"])]
    return [*numbers, f"× {ratio(times)}"]


def _duplicates(stage: Mapping[str, Any], counts: Mapping[str, int]) -> Duplicates:
    dropped = stage["dropped"]
    exact, near = (dropped.get(f"{kind}_duplicate", {"documents": 0, "bytes": 0}) for kind in ("exact", "near"))
    documents = exact["documents"] + near["documents"]
    return Duplicates(
        clusters=counts["clusters"],
        exact=exact["documents"],
        near=near["documents"],
        share=percent(documents / stage["documents_in"] if stage["documents_in"] else None),
        size=size(exact["bytes"] + near["bytes"]),
    )


def _length_bar(bits: int, documents: int, height: float) -> LengthBar:
    low, high = (2 ** (bits - 1), 2**bits - 1) if bits else (0, 0)
    title = f"{low:,} to {high:,} characters: {counted(documents, 'document')}"
    return LengthBar(_power(low), title, documents, height)


def _power(number: int) -> str:
    """`512`, `4 Ki`, `2 Mi`: a power of two, briefly."""
    for bits, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if number >= 2**bits:
            return f"{number >> bits} {unit}"
    return str(number)


def _largest(
    rows: Mapping[str, Sequence[int]], noun: str, *, by: int, beyond: Sequence[int] = (0, 0, 0)
) -> list[tuple[str, list[int]]]:
    """The largest rows first; what there is besides (`beyond`: how many, then their sums) is the last row."""
    ordered = sorted(rows.items(), key=lambda item: (-item[1][by], item[0]))
    kept = [(name, list(row)) for name, row in ordered[:MOST_ROWS]]
    rest = [row for _, row in ordered[MOST_ROWS:]]
    number = len(rest) + beyond[0]
    if not number:
        return kept
    sums = [sum(column) for column in zip(*rest, strict=True)] if rest else [0] * len(kept[0][1])
    for place, more in enumerate(beyond[1:]):
        sums[place] += more
    return [*kept, (f"{number:,} other {noun}", sums)]
