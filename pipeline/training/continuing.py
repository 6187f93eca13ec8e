"""What a run continues from, and what it remembers of itself from start to start.

Invariant: a run goes on with the data, tokenizer and config it was trained with. Other data needs the user's word
(`--allow-data-change`, pipeline.checkpoint.permission), and the change stays in every later checkpoint.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from data_prep.errors import InputError
from pipeline.checkpoint.compatible import check_continues, stream_differences
from pipeline.checkpoint.format import DataChange, Record, SkippedSamples
from pipeline.config import RunConfig
from pipeline.training.assembly import Data
from pipeline.training.positions import as_ranges


@dataclass(frozen=True)
class Lineage:
    """What every checkpoint of a run passes on to the next."""

    skipped: list[SkippedSamples] = field(default_factory=list)
    data_changes: list[DataChange] = field(default_factory=list)
    origin: str | None = None

    @staticmethod
    def of(record: Record | None) -> "Lineage":
        """That of a checkpoint; empty for a new run."""
        return Lineage(record.skipped, record.data_changes, record.origin) if record else Lineage()

    @property
    def skipped_ranges(self) -> list[tuple[int, int]]:
        """[start, stop) of all samples skipped."""
        return as_ranges(self.skipped)


def check_and_continue(
    record: Record, config: RunConfig, data: Data, allowed: bool, say: Callable[[str], None]
) -> Lineage:
    """The lineage of a run that goes on from `record` with `config` and `data`; InputError if it must not.

    `allowed`: dataset and stream may be others.
    """
    check_continues(record.config, config.model_dump(mode="json"), record.step, allowed)
    folder = data.dataset.folder
    if record.tokenizer_digest != data.tokenizer.digest:
        raise _refusal(f"{folder}: the tokenizer", record.tokenizer_digest, data.tokenizer.digest)
    lineage = Lineage.of(record)
    changed = _data_differences(record, config, data)
    if not changed:
        return lineage
    if not allowed:
        what, (was, now) = next(iter(changed.items()))
        raise _refusal(f"{folder}: the {what}", was, now, ", or allow the change with --allow-data-change")
    say(f"the data changes from position {record.position} on: {', '.join(changed)}")
    change = DataChange(step=record.step, position=record.position, changed=changed)
    return replace(lineage, data_changes=[*lineage.data_changes, change])


def _data_differences(record: Record, config: RunConfig, data: Data) -> dict[str, tuple[str, str]]:
    fingerprints = {
        "dataset": (record.dataset_fingerprint, data.dataset.fingerprint),
        "stream of samples (or a table of similar tokens)": (record.stream_fingerprint, data.stream_fingerprint),
    }
    changed = {what: pair for what, pair in fingerprints.items() if pair[0] != pair[1]}
    return changed | stream_differences(record.config, config.model_dump(mode="json"))


def _refusal(what: str, was: str, now: str, more: str = "") -> InputError:
    return InputError(
        f"{what} is not the one this run was trained on (fingerprint {was[:12]} then, {now[:12]} now): put it back, or "
        f"train in another folder (run.dir=...){more}"
    )
