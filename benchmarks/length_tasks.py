"""Tasks whose length is free, as flat batches for a causal stack: trained on short strings, tested on longer ones.

A string is BEGIN, symbols, MIDDLE, answer, and labels stand where the answer is to be predicted:

- copy: the symbols again; reverse: from the last to the first;
- recall: `length` pairs of a key and a value, every key once; the answer is four of the keys, each with its value, and
  only the values are predicted (associative recall).

In `rewrite` a string is BEGIN and sentences, each led by MIDDLE; what a symbol becomes depends on the one at its place
in the sentence before, as in a calculation written down step by step.

Segments, for positions of two levels: a pair; a sentence; of a string to be copied, four symbols.

Shape suffixes: T rows, N strings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.batch import IGNORED_LABEL, Batch

BEGIN, MIDDLE, FIRST_SYMBOL = 0, 1, 2
SYMBOLS, KEYS = 8, 20  # of strings; of pairs, whose values are symbols
VOCAB = FIRST_SYMBOL + SYMBOLS + KEYS
QUESTIONS, SEGMENT_SYMBOLS = 4, 4


@dataclass(frozen=True)
class String:
    """Tokens, whether each is to be predicted, and where segments begin, [n] each."""

    tokens: list[int]
    is_answer: list[bool]
    begins: list[bool]


def _copied(symbols: list[int], answer: list[int]) -> String:
    begins = [place % SEGMENT_SYMBOLS == 0 for place in range(len(symbols))]
    return String(
        [BEGIN, *symbols, MIDDLE, *answer],
        [False] * (len(symbols) + 2) + [True] * len(answer),
        [True, *begins, True, *begins],
    )


def copy(length: int, rng: np.random.Generator) -> String:
    """`length` symbols, twice."""
    symbols = (FIRST_SYMBOL + rng.integers(SYMBOLS, size=length)).tolist()
    return _copied(symbols, symbols)


def reverse(length: int, rng: np.random.Generator) -> String:
    """`length` symbols, there and back."""
    symbols = (FIRST_SYMBOL + rng.integers(SYMBOLS, size=length)).tolist()
    return _copied(symbols, symbols[::-1])


def recall(length: int, rng: np.random.Generator) -> String:
    """`length` pairs, and some of them again."""
    keys = FIRST_SYMBOL + SYMBOLS + rng.permutation(KEYS)[:length]
    pairs = np.stack([keys, FIRST_SYMBOL + rng.integers(SYMBOLS, size=length)], axis=1)
    asked = pairs[rng.integers(length, size=QUESTIONS)]
    return String(
        [BEGIN, *pairs.flatten().tolist(), MIDDLE, *asked.flatten().tolist()],
        [False] * (2 * length + 2) + [False, True] * QUESTIONS,
        [True, *[True, False] * length, True, *[True, False] * QUESTIONS],
    )


def rewrite(length: int, rng: np.random.Generator) -> String:
    """A sentence of two to five symbols, then `length` more: each the one before with every symbol moved on by one."""
    first = rng.integers(SYMBOLS, size=rng.integers(2, 6))
    sentences = (first + np.arange(length + 1)[:, None]) % SYMBOLS + FIRST_SYMBOL
    tokens = np.pad(sentences, ((0, 0), (1, 0)), constant_values=MIDDLE)
    is_answer = tokens != MIDDLE
    is_answer[0] = False  # the first is given
    begins = [False] * tokens.size
    begins[:: tokens.shape[1]] = [True] * len(tokens)
    return String([BEGIN, *tokens.flatten().tolist()], [False, *is_answer.flatten().tolist()], [True, *begins])


TASKS: dict[str, Callable[[int, np.random.Generator], String]] = {
    "copy": copy,
    "reverse": reverse,
    "recall": recall,
    "rewrite": rewrite,
}


def batch_of(strings: list[String], sample: int, two_levels: bool) -> Batch:
    """The strings as one view, each row labelled with the token after it where that is an answer.

    `sample` names the batch for what is drawn; positions are [T, 2] with `two_levels`, else [T].
    """
    lengths = torch.tensor([len(string.tokens) - 1 for string in strings])
    labels = [_labels(string) for string in strings]
    positions = [_levels(string) if two_levels else list(range(len(string.tokens) - 1)) for string in strings]
    num_rows = int(lengths.sum())
    return Batch(
        tokens=_flat([string.tokens[:-1] for string in strings]),
        positions=_flat(positions),
        cu_seqlens=torch.cat([torch.zeros(1), lengths.cumsum(0)]).to(torch.int32),
        sample_rows=torch.arange(num_rows, dtype=torch.int32),
        sample_positions=torch.full((num_rows,), sample),
        labels=_flat(labels),
    )


def _flat(values: list[list[Any]]) -> torch.Tensor:
    return torch.tensor([value for row in values for value in row], dtype=torch.int32)


def _labels(string: String) -> list[int]:
    answers = zip(string.tokens[1:], string.is_answer[1:], strict=True)
    return [token if is_answer else IGNORED_LABEL for token, is_answer in answers]


def _levels(string: String) -> list[tuple[int, int]]:
    """Segment and place in it, of each token but the last, which is no input."""
    levels: list[tuple[int, int]] = []
    for begins in string.begins[:-1]:
        segment, place = levels[-1] if levels else (-1, 0)
        levels.append((segment + 1, 0) if begins else (segment, place + 1))
    return levels
