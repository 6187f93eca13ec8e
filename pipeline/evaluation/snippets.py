"""A few held-out snippets with words hidden, filled in by the exported model: what the loss cannot show."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.special import SpecialTokens
from pipeline.config import RunConfig
from pipeline.evaluation.habits import Habits
from pipeline.export.fill_in import fill_in, fill_in_masks
from pipeline.training.assembly import Data, open_data

SNIPPET_TOKENS = 96
HIDDEN_TOKENS = 3
_GAP = "<extra_id_{}>"


@dataclass(frozen=True)
class Snippet:
    """A text in five parts: shown, hidden, shown, hidden, shown."""

    document: str
    parts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]

    @property
    def prompt(self) -> str:
        """The text with its hidden parts as <extra_id_0> and <extra_id_1>."""
        first, _, second, _, third = self.parts
        return f"{first}{_GAP.format(0)}{second}{_GAP.format(1)}{third}"

    @property
    def hidden(self) -> tuple[str, ...]:
        """What the model does not see."""
        return self.parts[1::2]


def fill_in_snippets(config: RunConfig) -> list[dict[str, Any]]:
    """Hide two spans in snippets of the first held-out documents; what the exported model writes there.

    Empty for a model that was not trained to fill gaps it is shown (`why_not_filled_in`).
    """
    if why_not_filled_in(config) or not config.evaluation.fill_in:
        return []
    data = open_data(config)
    snippets = list(itertools.islice(find_snippets(data), config.evaluation.fill_in))
    folder, habits = config.export_dir / "hf", Habits.of_run(config, data.tokenizer.special)
    if habits.fills == "sentinels":
        mode = "".join(map(data.tokenizer.id_to_piece, habits.head))
        prompts = [mode + snippet.prompt for snippet in snippets]
        written = [answer.spans for answer in fill_in(folder, prompts, config.evaluation.max_new_tokens)]
    else:
        written = [tuple(fill_in_masks(folder, snippet.tokens, habits.head, habits.tail)) for snippet in snippets]
    return [
        {
            "document": snippet.document,
            "hidden": list(snippet.hidden),
            "written": list(spans),
            "text": _marked(snippet, spans),
        }
        for snippet, spans in zip(snippets, written, strict=True)
    ]


def why_not_filled_in(config: RunConfig) -> str:
    """Why the exported model fills no gaps here; empty where it is asked, with sentinels or masks as in training."""
    if "hf" not in config.export.to:
        return "the run is not exported to hf"
    habits = Habits.of_run(config, SpecialTokens())
    if habits.fills == "whole":
        return "its decoder writes the whole text again; the probe `infilling` asks it"
    return habits.why_not


def find_snippets(data: Data) -> Iterator[Snippet]:
    """One snippet from the middle of each held-out document that is long enough."""
    for name, tokens in data.heldout_documents():
        start = (len(tokens) - SNIPPET_TOKENS) // 2
        if start >= 0:
            snippet = _cut(name, tokens[start : start + SNIPPET_TOKENS], data.tokenizer)
            if snippet is not None:
                yield snippet


def _cut(name: str, tokens: np.ndarray, tokenizer: Tokenizer) -> Snippet | None:
    """Spans at one and two thirds; None where a cut falls inside a character, or the text holds a sentinel's name."""
    third = SNIPPET_TOKENS // 3
    edges = (0, third, third + HIDDEN_TOKENS, 2 * third, 2 * third + HIDDEN_TOKENS, SNIPPET_TOKENS)
    parts = tuple(tokenizer.decode(tokens[start:stop]) for start, stop in itertools.pairwise(edges))
    whole = "".join(parts)
    ids = tuple(tuple(tokens[start:stop].tolist()) for start, stop in itertools.pairwise(edges))
    return None if "\ufffd" in whole or "<extra_id_" in whole else Snippet(name, parts, ids)


def _marked(snippet: Snippet, written: tuple[str, ...]) -> str:
    first, _, second, _, third = snippet.parts
    return f"{first}⟦{written[0]}⟧{second}⟦{written[1]}⟧{third}"
