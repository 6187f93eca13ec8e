"""Held-out text that the trained encoders are asked about: windows with the roles of their tokens, pairs for retrieval.

Everything here is a function of the dataset alone: all runs are asked the same.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.claims.token_roles import NO_ROLE, ROLES, roles_of
from data_prep.shards import Dataset
from data_prep.tokenizer import Tokenizer
from pipeline.evaluation.encoding import TextEncoder
from pipeline.evaluation.linear_probe import LinearProbe
from pipeline.evaluation.pairs import Pair, docstring_pairs, heading_pairs, usable

WINDOWS_PER_DOCUMENT = 16  # a few long files should not decide
Tokens = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """Windows, and the role of each of their tokens."""

    windows: list[Tokens]
    roles: list[torch.Tensor]  # of each window [tokens] int64, an index into ROLES or NO_ROLE


class HeldOutText:
    """What the dataset's held-out documents hold; `window` is the most tokens of a text."""

    def __init__(self, dataset: Dataset, tokenizer: Tokenizer, window: int) -> None:
        self._dataset, self._tokenizer, self._window = dataset, tokenizer, window

    @cached_property
    def pairs(self) -> dict[str, list[Pair]]:
        """By task: `code` (docstring -> function) and `pages` (heading -> section)."""
        found = {"code": docstring_pairs, "pages": heading_pairs}
        texts = {
            "code": [text for is_code, text, _ in self._documents if is_code],
            "pages": [text for is_code, text, _ in self._documents if not is_code],
        }
        return {task: usable(itertools.chain.from_iterable(map(find, texts[task]))) for task, find in found.items()}

    @cached_property
    def windows(self) -> list[Tokens]:
        """The first windows of all documents, code and pages."""
        return [window for _, _, tokens in self._documents for window in self._cut(tokens)]

    @cached_property
    def labelled(self) -> tuple[Labelled, Labelled]:
        """Windows of code to fit a probe to, and those of other documents to test it on: every second document."""
        fit, test = Labelled([], []), Labelled([], [])
        for number, (text, tokens) in enumerate((text, tokens) for code, text, tokens in self._documents if code):
            roles = roles_of(text)[self._tokenizer.token_starts(text, tokens)]
            part = (fit, test)[number % 2]
            for window, own in zip(self._cut(tokens), self._cut(roles), strict=True):
                if (own != NO_ROLE).any():
                    part.windows.append(window)
                    part.roles.append(torch.from_numpy(own.astype(np.int64)))
        return fit, test

    def role_accuracies(self, encoder: TextEncoder) -> FloatArray:
        """How often a linear probe on the encoder's states tells a token's role: [windows], of other documents."""
        fit, test = self.labelled
        fit_RW, fit_R = torch.cat(list(encoder.states(fit.windows))), torch.cat(fit.roles)
        probe = LinearProbe.fit(fit_RW[fit_R != NO_ROLE], fit_R[fit_R != NO_ROLE], len(ROLES))
        pairs = zip(encoder.states(test.windows), test.roles, strict=True)
        return np.array([probe.accuracy(states[roles != NO_ROLE], roles[roles != NO_ROLE]) for states, roles in pairs])

    @cached_property
    def _documents(self) -> list[tuple[bool, str, Tokens]]:
        return list(self._read())

    def _read(self) -> Iterator[tuple[bool, str, Tokens]]:
        """Whether it is code, the text, and its tokens, of each document in order."""
        split = self._dataset.split("heldout")
        for number in range(split.num_chunks):
            for document in split.chunk(number).documents():
                tokens = np.asarray(document.token_ids)
                yield document.id.endswith(".py"), self._tokenizer.decode(tokens), tokens

    def _cut(self, tokens: Tokens) -> list[Tokens]:
        """Whole windows from the beginning; of a shorter document one, as long as it is."""
        starts = range(0, max(1, len(tokens) - self._window + 1), self._window)[:WINDOWS_PER_DOCUMENT]
        return [tokens[start : start + self._window] for start in starts]
