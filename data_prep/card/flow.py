"""The picture and the table of what each stage dropped, from the summary in the manifest.

Invariant: bars are to one scale, documents; a stage's bar is as wide as what it was given, and every reason for which
it dropped documents has its part of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.pages.words import count, counted, percent, size

BAR_WIDTH, ROW_HEIGHT, BAR_HEIGHT = 560.0, 52, 24  # of the picture, in its own units
_MOST_REASONS = 6  # with a part of the bar of their own; the rest share one

ABOUT = {
    "read": "documents in the input files",
    "clean": "texts repaired, bad ones dropped",
    "language": "language identified",
    "boilerplate": "lines that many documents share taken out",
    "dedup": "of copies, one stays",
    "decontaminate": "documents that share text with evaluation files",
}


@dataclass(frozen=True)
class Part:
    """A piece of a bar: where it is, what it stands for, and which of the colours it has (0: kept)."""

    x: float
    width: float
    title: str
    colour: int


@dataclass(frozen=True)
class Bar:
    """A row of the picture. `after`: the width of what flows on, None for the last."""

    y: int
    label: str
    note: str
    parts: Sequence[Part]
    after: float | None


@dataclass(frozen=True)
class Reason:
    """Why documents were dropped, with examples as they stand in the manifest."""

    name: str
    documents: int
    share: str
    size: str
    examples: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class StageRow:
    """A row of the table."""

    name: str
    about: str
    documents_in: int
    documents: int
    dropped: int
    text: str
    taken_out: str
    reasons: Sequence[Reason]


def stage_rows(summary: Mapping[str, Any]) -> list[StageRow]:
    """The stages with what they dropped, by reason, the most frequent first."""
    return [_stage_row(stage) for stage in summary["stages"]]


def bars(summary: Mapping[str, Any]) -> list[Bar]:
    """The picture: one bar for each stage, and one for what is left."""
    stages = summary["stages"]
    widest = max(stage["documents_in"] for stage in stages) or 1
    rows = [_bar(number, stage, BAR_WIDTH / widest) for number, stage in enumerate(stages)]
    left = stages[-1]["documents"]
    total = Part(0, BAR_WIDTH * left / widest, counted(left, "document"), 0)
    note = f"{counted(left, 'document')}, {size(stages[-1]['bytes'])}"
    return [*rows, Bar(ROW_HEIGHT * len(rows), "kept", note, [total], None)]


def _bar(number: int, stage: Mapping[str, Any], scale: float) -> Bar:
    kept = Part(0, scale * stage["documents"], f"{counted(stage['documents'], 'document')} kept", 0)
    parts, x = [kept], kept.width
    for colour, (title, documents) in enumerate(_grouped(stage["dropped"]), 1):
        parts.append(Part(x, scale * documents, f"{counted(documents, 'document')}: {title}", colour))
        x += scale * documents
    dropped = stage["documents_in"] - stage["documents"]
    note = f"{count(dropped)} of {count(stage['documents_in'])} dropped" if dropped else "nothing dropped"
    return Bar(ROW_HEIGHT * number, stage["stage"], note, parts, kept.width)


def _grouped(dropped: Mapping[str, Any]) -> list[tuple[str, int]]:
    ranked = sorted(((words(reason), row["documents"]) for reason, row in dropped.items()), key=lambda r: (-r[1], r[0]))
    if len(ranked) <= _MOST_REASONS:
        return ranked
    rest = ranked[_MOST_REASONS - 1 :]
    return [*ranked[: _MOST_REASONS - 1], (f"{len(rest)} other reasons", sum(documents for _, documents in rest))]


def words(reason: str) -> str:
    """A reason as people write it."""
    return reason.replace("_", " ")


def _stage_row(stage: Mapping[str, Any]) -> StageRow:
    dropped = sorted(stage["dropped"].items(), key=lambda item: (-item[1]["documents"], words(item[0])))
    taken_out = stage["bytes_in"] - stage["bytes"] - sum(row["bytes"] for _, row in dropped)
    return StageRow(
        name=stage["stage"],
        about=ABOUT.get(stage["stage"], ""),
        documents_in=stage["documents_in"],
        documents=stage["documents"],
        dropped=stage["documents_in"] - stage["documents"],
        text=size(stage["bytes"]),
        taken_out=_change(taken_out),
        reasons=[_reason(name, row, stage["documents_in"]) for name, row in dropped],
    )


def _change(taken_out: int) -> str:
    """How much shorter the texts that stayed have become."""
    if not taken_out:
        return "-"
    return f"{size(taken_out)} taken out" if taken_out > 0 else f"{size(-taken_out)} added"


def _reason(name: str, row: Mapping[str, Any], documents_in: int) -> Reason:
    share = percent(row["documents"] / documents_in if documents_in else None)
    return Reason(words(name), row["documents"], share, size(row["bytes"]) if row["bytes"] else "", row["examples"])
