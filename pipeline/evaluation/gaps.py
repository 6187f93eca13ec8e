"""Gaps in held-out texts: how each kind of model is shown one, what it writes there, and how likely it finds a filling.

    masks      the encoder sees a mask for each hidden token, and tells each by itself
    sentinels  the encoder sees <extra_id_0>; the decoder writes the span after it
    whole      the encoder sees one mask; the decoder, which writes the whole text, has written all before the gap

Nothing of the hidden tokens but their number (where there is a mask for each) is shown.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.evaluation.model import Model
from pipeline.evaluation.subject import Subject

LONGER = 8  # tokens that a decoder may write beyond the hidden ones


@dataclass(frozen=True)
class Gap:
    """A text in three parts of token ids."""

    before: tuple[int, ...]
    hidden: tuple[int, ...]
    after: tuple[int, ...]


class GapFiller:
    """The model of `subject`, asked about gaps; `layer` is that of the encoder which its decoder reads (None: last)."""

    def __init__(self, subject: Subject, layer: int | None = None) -> None:
        self._model: Model = subject.model
        self._habits, self._special, self._layer = subject.habits, subject.habits.special, layer

    def write(self, gaps: Sequence[Gap]) -> list[list[int]]:
        """The likeliest tokens in each gap, greedily."""
        if self._habits.fills == "masks":
            logits = self._mask_logits(gaps)
            return [logits_HV.argmax(-1).tolist() for logits_HV in logits]
        memories = list(self._model.states([self._source(gap) for gap in gaps], self._layer))
        stops = {self._special.eos, *self._special.sentinels}
        lengths = [len(gap.hidden) + LONGER * (self._habits.fills == "sentinels") for gap in gaps]
        return write_greedily(self._model, memories, [self._prefix(gap) for gap in gaps], stops, lengths)

    def losses(self, gaps: Sequence[Gap]) -> list[float]:
        """The mean negative log probability of each gap's hidden tokens, in nats."""
        scores = self.log_probabilities(gaps, [[gap.hidden] for gap in gaps])
        return [-score / len(gap.hidden) for (score,), gap in zip(scores, gaps, strict=True)]

    def log_probabilities(
        self, gaps: Sequence[Gap], fillings: Sequence[Sequence[tuple[int, ...]]]
    ) -> list[list[float]]:
        """Of each gap's `fillings`, which for masks are as long as what is hidden, the log probability in nats."""
        if self._habits.fills == "masks":
            return [
                [float(log_HV[range(len(filling)), list(filling)].sum()) for filling in own]
                for log_HV, own in zip(map(_log_softmax, self._mask_logits(gaps)), fillings, strict=True)
            ]
        memories = self._model.states([self._source(gap) for gap in gaps], self._layer)
        return [
            self._decoder_scores(memory_SW, gap, own)
            for memory_SW, gap, own in zip(memories, gaps, fillings, strict=True)
        ]

    def _decoder_scores(self, memory_SW: torch.Tensor, gap: Gap, fillings: Sequence[tuple[int, ...]]) -> list[float]:
        """With what must come after it: the end, or the first token behind the gap."""
        prefix = self._prefix(gap)
        end = (self._special.eos,) if self._habits.fills == "sentinels" else gap.after[:1]
        written = [(*filling, *end) for filling in fillings]
        targets = [[*prefix, *filling][:-1] for filling in written]
        found = self._model.decode([memory_SW] * len(fillings), targets, [len(prefix) - 1] * len(fillings))
        return [
            float(_log_softmax(logits_RV)[range(len(filling)), list(filling)].sum())
            for logits_RV, filling in zip(found, written, strict=True)
        ]

    def _mask_logits(self, gaps: Sequence[Gap]) -> list[torch.Tensor]:
        """At the masks of each gap, [hidden, V]."""
        head = len(self._habits.head)
        starts = [head + len(gap.before) for gap in gaps]
        rows = [range(start, start + len(gap.hidden)) for start, gap in zip(starts, gaps, strict=True)]
        return list(self._model.row_logits([self._source(gap) for gap in gaps], rows))

    def _source(self, gap: Gap) -> list[int]:
        """What the encoder sees."""
        special = self._special
        shown = {
            "masks": [special.mask] * len(gap.hidden),
            "sentinels": [special.first_sentinel],
            "whole": [special.mask],
        }[self._habits.fills or ""]
        return [*self._habits.head, *gap.before, *shown, *gap.after, *self._habits.tail]

    def _prefix(self, gap: Gap) -> list[int]:
        """What the decoder has written up to the gap; it starts with pad."""
        before = [self._special.first_sentinel] if self._habits.fills == "sentinels" else gap.before
        return [self._special.pad, *before]


def exactly(written: Sequence[Sequence[int]], gaps: Sequence[Gap]) -> list[float]:
    """Of each gap: 1 where what was written are the hidden tokens and no more, else 0."""
    return [float(tuple(tokens) == gap.hidden) for tokens, gap in zip(written, gaps, strict=True)]


def write_greedily(
    model: Model,
    memories: Sequence[torch.Tensor],
    prefixes: Sequence[Sequence[int]],
    stops: set[int],
    most: Sequence[int],
) -> list[list[int]]:
    """What the decoder writes after each prefix, up to a stop (left out) or `most` tokens."""
    written: list[list[int]] = [[] for _ in prefixes]
    going = list(range(len(prefixes)))
    while going := [n for n in going if len(written[n]) < most[n]]:
        targets = [[*prefixes[n], *written[n]] for n in going]
        logits = model.decode([memories[n] for n in going], targets, [len(target) - 1 for target in targets])
        still = []
        for n, logits_1V in zip(going, logits, strict=True):
            token = int(logits_1V[-1].argmax())
            if token not in stops:
                written[n].append(token)
                still.append(n)
        going = still
    return written


def gaps_of(subject: Subject, most: int, hidden_tokens: int, context_tokens: int = 96) -> list[Gap]:
    """Gaps in the middle of windows of held-out documents, none inside a character."""
    size = min(context_tokens, subject.habits.max_tokens - LONGER)
    found = []
    for _, window in subject.texts.windows(most, size, fewest=4 * hidden_tokens):
        start = (len(window) - hidden_tokens) // 2
        cuts = (0, start, start + hidden_tokens, len(window))
        parts = [tuple(int(token) for token in window[a:b]) for a, b in itertools.pairwise(cuts)]
        if not any("\ufffd" in subject.tokenizer.decode(part) for part in parts):
            found.append(Gap(*parts))
    return found


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits.double(), -1)
