"""The held-out loss by source, language and part of a mixture (UL2's denoisers), and in bits per byte of text.

Invariant: the same samples with the same masks as the held-out loss of training, in float32, and each label counted in
one group of each kind: sums and counts of the groups add up to those of all. A term counts by its labels, or it is left
out (a contrast between texts has no labels, a detection of replaced tokens none that are tokens).

Bits per byte do not depend on the tokenizer: the loss of the labels over the bytes of text that they stand for. They
are told where one term has labels in one view.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from data_prep.columns.origin import lang_code
from data_prep.tokenizer import Tokenizer
from pipeline.batch import IGNORED_LABEL, Views
from pipeline.corruption.corruption import Corruption
from pipeline.evaluation.texts import LANGUAGE, source_of
from pipeline.sample import Sample
from pipeline.training.assembly import Data
from pipeline.training.engine import Terms
from pipeline.training.heldout import HeldOut

ALL, OTHERS = "all", "others"


@dataclass
class Sums:
    """Of one group: loss and labels by term, and the bytes of text that the labels stand for."""

    losses: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    num_bytes: int = 0

    def add(self, terms: Mapping[str, tuple[torch.Tensor, int]], num_bytes: int) -> None:
        """Another forward's terms."""
        for term, (total, count) in terms.items():
            self.losses[term] += float(total)
            self.counts[term] += count
        self.num_bytes += num_bytes

    def join(self, other: "Sums") -> None:
        """Another group's."""
        for term, total in other.losses.items():
            self.losses[term] += total
            self.counts[term] += other.counts[term]
        self.num_bytes += other.num_bytes

    def figures(self) -> dict[str, Any]:
        """{loss, labels, bits_per_byte}; bits_per_byte is None where labels are not text, or of several terms."""
        loss = math.fsum(total / self.counts[term] for term, total in self.losses.items() if self.counts[term])
        told = len(self.losses) == 1 and self.num_bytes
        bits = math.fsum(self.losses.values()) / math.log(2) / self.num_bytes if told else None
        return {"loss": loss, "labels": sum(self.counts.values()), "bits_per_byte": bits}


@dataclass(frozen=True)
class GroupedLoss:
    """{"all" | "source" | "language" | "part": {name: figures}}, and the loss of each held-out sample, in order."""

    groups: dict[str, dict[str, dict[str, Any]]]
    samples: list[float]


def heldout_by_group(objective: Any, data: Data, most: int) -> GroupedLoss:
    """Of a trained objective in float32; the `most` largest groups by name.

    Empty where nothing was held out. Languages only where the dataset has them for each document.
    """
    if data.heldout is None or not most:
        return GroupedLoss({}, [])
    kinds: dict[str, dict[str, Sums]] = defaultdict(lambda: defaultdict(Sums))
    losses = []
    for sample, views in _samples(data.heldout):
        asked: dict[tuple[bool, ...], tuple[Terms, int]] = {}
        for kind, names in _groups(sample, data).items():
            for name in dict.fromkeys(names):
                kept = tuple(other == name for other in names)
                if kept not in asked:
                    shown = _labels_of(views, kept)
                    asked[kept] = _terms(objective, shown), _label_bytes(shown, data.tokenizer)
                terms, num_bytes = asked[kept]
                kinds[kind][name].add(terms, num_bytes)
                if kind == ALL:
                    losses.append(math.fsum(float(total) / max(count, 1) for total, count in terms.values()))
    found = {kind: largest_groups(groups, most) for kind, groups in kinds.items()}
    return GroupedLoss({kind: groups for kind, groups in found.items() if groups}, losses)


def _samples(heldout: HeldOut) -> Iterator[tuple[Sample, Views]]:
    """Each held-out sample and its views; one at a time, so that few groups meet in a forward."""
    for position in range(heldout.num_samples):
        sample = heldout.source.sample(position)
        assert isinstance(sample, Sample), "a stream's"
        yield sample, heldout.maker.apply([sample]).to("cpu").views


def _groups(sample: Sample, data: Data) -> dict[str, list[str]]:
    """The group of each sequence, by kind; parts only where there is a mixture."""
    documents = sample.documents
    found = {ALL: [ALL] * len(documents), "source": [source_of(part.document_id) for part in documents]}
    if LANGUAGE in data.dataset.manifest.columns:
        numbers = sample.split.chunk(sample.chunk).column(LANGUAGE)
        found["language"] = [lang_code(int(numbers[document])) or "unknown" for document in sample.document_numbers]
    maker = data.heldout.maker if data.heldout else None
    if isinstance(maker, Corruption) and (part := maker.part_at(sample.position)) is not None:
        found["part"] = [f"{part}: {maker.config.mixture[part].title}"] * len(documents)
    return found


def _labels_of(views: Views, kept: Sequence[bool]) -> Views:
    """The views with the labels of the `kept` sequences only."""
    found = {}
    for name, view in views.items():
        if view.labels is not None:
            labels = torch.full_like(view.labels, IGNORED_LABEL)
            for number in np.flatnonzero(kept).tolist():
                rows = view.sequence(number)
                labels[rows] = view.labels[rows]
            view = dataclasses.replace(view, labels=labels)
        found[name] = view
    return found


@torch.no_grad()
def _terms(objective: Any, views: Views) -> Terms:
    """The terms of the objective that count labels."""
    without = objective.counts(_labels_of(views, []))
    if not any(view.num_labels for view in views.values()):
        return {}
    return {term: value for term, value in objective(views).items() if without[term] == 0}


def _label_bytes(views: Views, tokenizer: Tokenizer) -> int:
    """The bytes of text that the labels stand for; 0 where several views have labels, or labels are no tokens."""
    labelled = [view.labels for view in views.values() if view.num_labels]
    if len(labelled) != 1 or labelled[0] is None:
        return 0
    labels = labelled[0][labelled[0] != IGNORED_LABEL].numpy()
    return int(tokenizer.piece_num_bytes[labels].sum())


def largest_groups(groups: Mapping[str, Sums], most: int) -> dict[str, dict[str, Any]]:
    """The figures of the groups with the most labels, and of the others together."""
    counted = {name: sums for name, sums in groups.items() if sums.counts}
    ordered = sorted(counted, key=lambda name: (-sum(counted[name].counts.values()), name))
    found = {name: counted[name].figures() for name in ordered[:most]}
    if rest := ordered[most:]:
        others = Sums()
        for name in rest:
            others.join(counted[name])
        found[OTHERS] = others.figures()
    return found
