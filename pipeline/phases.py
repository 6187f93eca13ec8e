"""Phases of a run: from a step on, other windows, batches, mask rates, another mixture (EuroBERT anneals so).

Invariant: which phase a sample belongs to follows from its position alone: phase n begins where at_step steps end, each
as large as its own phase has it. A phase that changes the windows reads the dataset from its beginning again, in an
order of its own; one that does not goes on where the one before it was. Held-out samples are always those of the start.
"""

import bisect
import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from data_prep.section import Positive, Section
from pipeline.batch import MicroBatch
from pipeline.block_reader import Samples

if TYPE_CHECKING:
    import torch

    from pipeline.corruption.corruption import Corruption
    from pipeline.corruption.pieces import Pieces
    from pipeline.sample import Sample
    from pipeline.stream import Stream


class PhaseTraining(Section):
    """What of `training:` a phase may change."""

    global_batch: Positive | None = None
    micro_batch: Positive | None = None


class Phase(Section):
    """What is different from step `at_step` on; what is not said stays as in the phase before."""

    at_step: int = Field(gt=0)
    """The number of updates done before it."""
    stream: dict[str, Any] = Field(default_factory=dict)
    corruption: dict[str, Any] = Field(default_factory=dict)
    training: PhaseTraining = PhaseTraining()


def later_sections(sections: Mapping[str, Mapping[str, Any]], phase: Phase) -> dict[str, Any]:
    """The `sections` stream, corruption and training of a phase, laid over those of the phase before."""
    new = phase.model_dump(exclude_none=True)
    return {name: _laid_over(section, new[name]) for name, section in sections.items()}


def _laid_over(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merge, another kind and everything else replaces, as in files that extend others."""
    merged = dict(old)
    for key, value in new.items():
        there = merged.get(key)
        if isinstance(there, Mapping) and isinstance(value, Mapping) and _same_kind(there, value):
            merged[key] = _laid_over(there, value)
        else:
            merged[key] = value
    return merged


def _same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return bool(new.get("kind", old.get("kind")) == old.get("kind"))


@dataclass(frozen=True)
class BatchSizes:
    """How many samples a step and a forward read: those of phase n from position starts[n] on."""

    starts: tuple[int, ...]
    global_batches: tuple[int, ...]
    micro_batches: tuple[int, ...]

    def global_batch(self, position: int) -> int:
        """The samples of a step that reads the one at `position`."""
        return self.global_batches[phase_at(self.starts, position)]

    def micro_batch(self, position: int) -> int:
        """The samples of a forward that reads the one at `position`."""
        return self.micro_batches[phase_at(self.starts, position)]

    def __str__(self) -> str:
        """The global batches, for people."""
        return ", then ".join(f"{size:,}" for size, _ in itertools.groupby(self.global_batches))


class PhasedStream:
    """The streams of the phases, one after another: `streams[n]` has the positions from starts[n] on, counted from
    `origins[n]`."""

    def __init__(self, starts: Sequence[int], origins: Sequence[int], streams: "Sequence[Stream]") -> None:
        self.starts, self.origins, self.streams = list(starts), list(origins), list(streams)

    def sample(self, position: int) -> "Sample":
        """The sample at `position` of the run."""
        phase = phase_at(self.starts, position)
        sample = self.streams[phase].sample(position - self.origins[phase])
        return dataclasses.replace(sample, position=position)

    def samples(self, first: int, count: int) -> Samples:
        """The samples [first, first + count) of the run, which are of one phase."""
        phase = phase_at(self.starts, first)
        return Samples(self.streams[phase], first - self.origins[phase], count, first)

    @property
    def fingerprint(self) -> str:
        """A digest of everything the samples depend on but their position; with one phase, its stream's."""
        if len(self.streams) == 1:
            return self.streams[0].fingerprint
        parts = [
            f"{start} {origin} {stream.fingerprint}"
            for start, origin, stream in zip(self.starts, self.origins, self.streams, strict=True)
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class PhasedCorruption:
    """The corruptions of the phases. A micro-batch belongs to one phase, as phases begin with a step."""

    def __init__(self, starts: Sequence[int], makers: "Sequence[Corruption]") -> None:
        self.starts, self.makers = list(starts), list(makers)

    def apply(self, samples: "Sequence[Sample]") -> MicroBatch:
        """The micro-batch of `samples`."""
        return self._of(samples).apply(samples)

    def gather(self, samples: "Sequence[Sample]") -> "Pieces":
        """The raw text of `samples`, and the columns that are read with it."""
        return self._of(samples).gather(samples)

    def mask_on(self, device: "torch.device", pieces: "Pieces") -> MicroBatch:
        """What apply gives, as tensors on `device`, masked there."""
        return self._at(int(pieces.positions[0])).mask_on(device, pieces)

    def check_device(self, device: "torch.device") -> None:
        """InputError unless mask_on works for `device`."""
        for maker in self.makers:
            maker.check_device(device)

    def _of(self, samples: "Sequence[Sample]") -> "Corruption":
        return self.makers[0] if len(self.makers) == 1 else self._at(samples[0].position)

    def _at(self, position: int) -> "Corruption":
        return self.makers[phase_at(self.starts, position)]


def phase_at(starts: Sequence[int], position: int) -> int:
    """The number of the phase that the sample at `position` belongs to; the first starts at 0."""
    return bisect.bisect_right(starts, position) - 1
