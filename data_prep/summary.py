"""What happened to a corpus on its way into the dataset, as one JSON-able structure: the manifest's `report.summary`.

Invariant: it depends on the corpus and the config alone (no times, no machine), so the manifest's bytes do too. The
data card shows it.

    stages      in order; `read` first: [{place, stage, documents_in, bytes_in, documents, bytes,
                dropped: {reason: {documents, bytes, examples: [{id, detail, excerpt}]}}}]. For each of them
                documents_in = documents + all dropped. What one leaves the next one gets, except that
                `max_documents` ends the last pass early
    reductions  in order: [{stage, name, counts: sums over the parts}]; counts that are not numbers are left out
    observed    what the observers counted: [{stage, counts: sums over the units}]
    documents   what is left: {lengths: {n: documents of 2**(n - 1) .. 2**n - 1 characters}, languages: {language:
                [documents, bytes]}, sources: {file: [documents, bytes]}, other_sources: [sources, documents, bytes]}
    tokens      {language: [documents, characters, bytes, tokens, unknown tokens]}, before any finish
    encoder     {why_slow: why SentencePiece encodes with this model, in a few words; null where the faster encoder can}
    quarantined entries of the quarantine, also those that its file leaves out
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_prep.corpus import Corpus
from data_prep.tally import MOST_EXAMPLES, largest
from data_prep.tokenizer import Tokenizer
from data_prep.waves import Record

Summary = dict[str, Any]


def summarize(corpus: Corpus, tokenized: Sequence[Record], tokenizer: Tokenizer) -> Summary:
    """The summary of a preparation: its passes, reductions, the records of its tokenize tasks, its tokenizer."""
    last = corpus.passes[-1].records
    return {
        "stages": [stage for result in corpus.passes for stage in merged_stages(result.records)],
        "reductions": [
            {"stage": stage.kind, "name": name, "counts": _summed(counts)} for stage, name, counts in corpus.reductions
        ],
        "observed": _observed(corpus, tokenized),
        "documents": _merged_contents([record["contents"] for record in last]),
        "tokens": _summed_rows(record["languages"] for record in tokenized),
        "encoder": {"why_slow": tokenizer.why_inexact},
        "quarantined": sum(record["quarantined"] for result in corpus.passes for record in result.records),
    }


def merged_stages(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The stages of one pass, summed over its units; the examples are the first ones."""
    merged: dict[int, dict[str, Any]] = {}
    for stage in (stage for record in records for stage in record["stages"]):
        total = merged.setdefault(stage["place"], {**stage, **dict.fromkeys(_STAGE_COUNTS, 0), "dropped": {}})
        for name in _STAGE_COUNTS:
            total[name] += stage[name]
        for reason, dropping in stage["dropped"].items():
            _add_dropping(total["dropped"].setdefault(reason, {"documents": 0, "bytes": 0, "examples": []}), dropping)
    return list(merged.values())


def bad_documents(summary: Summary) -> tuple[dict[str, int], dict[str, str]]:
    """Bad documents by reason, and the first of each as `file:line: what is wrong`."""
    dropped = summary["stages"][0]["dropped"]
    counts = {reason: dropping["documents"] for reason, dropping in sorted(dropped.items())}
    return counts, {reason: dropping["examples"][0]["detail"] for reason, dropping in sorted(dropped.items())}


def notes(stages: Iterable[Mapping[str, Any]]) -> list[str]:
    """What was left out, a line for each reason of bad documents and for each stage that dropped any."""
    lines: list[str] = []
    for stage in stages:
        if stage["stage"] == "read":
            lines += [_note_bad(reason, dropping) for reason, dropping in sorted(stage["dropped"].items())]
        elif stage["dropped"]:
            counts = sorted((-dropping["documents"], reason) for reason, dropping in stage["dropped"].items())
            reasons = ", ".join(f"{-count:,} {reason.replace('_', ' ')}" for count, reason in counts)
            total = -sum(count for count, _ in counts)
            lines.append(f"{stage['stage']} dropped {total:,} of {stage['documents_in']:,} documents: {reasons}")
    return lines


_STAGE_COUNTS = ("documents_in", "bytes_in", "documents", "bytes")


def _note_bad(reason: str, dropping: Mapping[str, Any]) -> str:
    first = "" if dropping["documents"] == 1 else "first "
    return (
        f"{dropping['documents']:,} left out as {reason.replace('_', ' ')}: {first}{dropping['examples'][0]['detail']}"
    )


def _add_dropping(total: dict[str, Any], dropping: Mapping[str, Any]) -> None:
    total["documents"] += dropping["documents"]
    total["bytes"] += dropping["bytes"]
    total["examples"] = [*total["examples"], *dropping["examples"]][:MOST_EXAMPLES]


def _observed(corpus: Corpus, tokenized: Sequence[Record]) -> list[dict[str, Any]]:
    found = [
        {"stage": result.tasks[0].observe.kind, "counts": _summed(record["observed"] for record in result.records)}
        for result in corpus.passes
        if result.tasks and result.tasks[0].observe is not None
    ]
    kinds = tokenized[0]["observed"] if tokenized else {}
    return found + [
        {"stage": kind, "counts": _summed(record["observed"][kind] for record in tokenized)} for kind in kinds
    ]


def _merged_contents(contents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sources = _summed_rows(part["sources"] for part in contents)
    kept = largest(sources)
    kept["other_sources"] = [
        sum(column) for column in zip(kept["other_sources"], *(part["other_sources"] for part in contents), strict=True)
    ]
    lengths = _summed(part["lengths"] for part in contents)
    return {
        "lengths": dict(sorted(lengths.items(), key=lambda item: int(item[0]))),
        "languages": _summed_rows(part["languages"] for part in contents),
        **kept,
    }


def _summed(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums of the numbers among the values."""
    totals: Counter[str] = Counter()
    for part in parts:
        totals.update({key: value for key, value in part.items() if isinstance(value, int | float)})
    return dict(sorted(totals.items()))


def _summed_rows(tables: Iterable[Mapping[str, Sequence[int]]]) -> dict[str, list[int]]:
    """Rows of the same name added up, column by column."""
    rows: dict[str, list[int]] = {}
    for table in tables:
        for name, row in table.items():
            rows[name] = [a + b for a, b in zip(rows.get(name, [0] * len(row)), row, strict=True)]
    return dict(sorted(rows.items()))
