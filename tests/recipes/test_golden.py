"""Golden batches: a fixed text and seed give exact views, small enough to check by eye (tests/golden/recipes/).

After a deliberate change, `python -m tests.recipes.test_golden NAME ...` writes the files of these recipes anew.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL, Batch
from pipeline.config import load_config
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample
from pipeline.stream import StreamConfig
from tests.recipes.small import RECIPES, SPECIAL, table_for

GOLDEN = Path(__file__).parents[1] / "golden" / "recipes"
TEXTS = tuple(
    text.split()
    for text in ("the cat sat on the mat . it looked at the dog . the dog ran away from it .", "we went home .")
)
OTHER = ["the", "dog", "sat", "at", "home", ".", "we", "looked", "away", "."]  # another document, for pairs of two
SHOWN = {"bert_nsp": (7, 8)}  # positions: one where the text goes on, one where it does not
FIRST_WORD = 200
SPECIAL_TOKENS = SpecialTokens()
SHORT = {SPECIAL_TOKENS.pad: "_", SPECIAL_TOKENS.eos: "</s>", SPECIAL_TOKENS.mask: "[M]", SPECIAL_TOKENS.cls: "[CLS]",
         SPECIAL_TOKENS.sep: "[SEP]"}  # fmt: skip
NAMES = {
    **SHORT,
    **{token: f"<{n}>" for n, token in enumerate(SPECIAL_TOKENS.sentinels)},
    **{token: f"<spare_{n}>" for n, token in enumerate(SPECIAL_TOKENS.spares)},
    **{FIRST_WORD + n: word for n, word in enumerate(dict.fromkeys(word for text in TEXTS for word in text))},
}
VOCABULARY = {word: token for token, word in NAMES.items()}


def sample() -> GivenSample:
    """Two documents; most words are one token, and the columns are what their names say."""
    other = _sample_of(8, [OTHER])
    return dataclasses.replace(_sample_of(7, TEXTS), other=other)


def _sample_of(position: int, texts: Sequence[Sequence[str]]) -> GivenSample:
    tokens = np.array([VOCABULARY[word] for text in texts for word in text], np.uint16)
    after_stop = np.concatenate([[1], (tokens[:-1] == VOCABULARY["."]).astype(np.uint8)])
    columns = {
        "words": np.array([NAMES[token] not in ("looked", "away", "home") for token in tokens], np.uint8),
        "sents": after_stop.astype(np.uint8),
        "weight": np.array([10 if NAMES[token] in ("the", ".", "it", "on") else 200 for token in tokens], np.uint8),
        "spans": (np.arange(len(tokens)) % 5 == 1).astype(np.uint8),
    }
    return GivenSample(position, tokens, np.cumsum([0, *map(len, texts)]), columns)


def golden(recipe: str) -> dict[str, Any]:
    """Each view's sequences as words: the tokens, the labels under them, and positions where they are not 0, 1, 2."""
    vocab_size = FIRST_WORD + len(NAMES)
    special = (*SPECIAL.get(recipe, ()), *table_for(recipe, vocab_size))
    config = load_config(recipe, ["data.paths=[corpus]", "stream.window=32", *special])
    corruption = Corruption(config.corruption, SPECIAL_TOKENS, vocab_size, 32, 4, seed=0)
    shown = [dataclasses.replace(cut(sample(), config.stream), position=p) for p in SHOWN.get(recipe, (7,))]
    return {name: _described(view) for name, view in corruption.apply(shown).views.items()}


def cut(whole: GivenSample, stream: StreamConfig) -> GivenSample:
    """The sample with its documents cut as the recipe's stream does."""
    starts, _ = stream.cut(whole.piece_offsets[:-1].tolist(), whole.piece_offsets[1:].tolist())
    return dataclasses.replace(whole, piece_offsets=np.array([*starts, len(whole.tokens)]))


def _described(view: Batch) -> list[dict[str, Any]]:
    def words(values: np.ndarray) -> str:
        return " ".join(
            "." * 3 if token == IGNORED_LABEL else NAMES.get(token, f"#{token}") for token in values.tolist()
        )

    sequences = []
    for n in range(view.num_sequences):
        rows = view.sequence(n)
        shown: dict[str, Any] = {"tokens": words(view.tokens[rows])}
        if view.labels is not None:
            shown["labels"] = words(view.labels[rows])
        positions = view.positions[rows].tolist()
        if positions != list(range(len(positions))):
            shown["positions"] = " ".join(map(str, positions))
        if view.pair_labels is not None:
            shown["pair_label"] = int(view.pair_labels[n])
        if view.token_types is not None:
            shown["token_types"] = " ".join(map(str, view.token_types[rows].tolist()))
        sequences.append(shown)
    return sequences


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_golden_batch_comes_out_to_the_last_row(recipe: str) -> None:
    assert golden(recipe) == json.loads((GOLDEN / f"{recipe}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        (GOLDEN / f"{name}.json").write_text(json.dumps(golden(name), indent=1, ensure_ascii=False) + "\n")
