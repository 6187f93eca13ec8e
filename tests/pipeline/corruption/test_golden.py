"""The golden batch: fixed text, fixed seed, exact views. `tests/golden/t5_span.json` is meant to be read by eye.

After a deliberate change of the data order this file, run as a program, prints the new content.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import Batch
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample

GOLDEN = Path(__file__).parents[2] / "golden" / "t5_span.json"
SPECIAL = SpecialTokens()
FIRST_WORD_ID = 200
SEED, WINDOW, MAX_PIECES = 0, 24, 3
PIECES = {
    0: ["thank you for inviting me to your party last week it was great fun and we all danced until dawn"],
    1: ["the cat sat on the mat", "a dog ran", "hello"],
    2**33: ["one two three four five six seven eight nine ten"],
}
EDGES = ("t5", "free")


def vocabulary() -> dict[str, int]:
    """Word -> id: special tokens by their short names, then words in the order they appear."""
    special = {"<pad>": SPECIAL.pad, "</s>": SPECIAL.eos} | {
        f"<{i}>": token for i, token in enumerate(SPECIAL.sentinels)
    }
    words = dict.fromkeys(word for texts in PIECES.values() for text in texts for word in text.split())
    return special | {word: FIRST_WORD_ID + i for i, word in enumerate(words)}


def samples(ids: dict[str, int]) -> list[GivenSample]:
    made = []
    for position, texts in PIECES.items():
        pieces = [[ids[word] for word in text.split()] for text in texts]
        tokens = np.array([token for piece in pieces for token in piece], np.uint16)
        made.append(GivenSample(position, tokens, np.cumsum([0, *map(len, pieces)])))
    return made


def described(view: Batch, words: dict[int, str]) -> dict[str, Any]:
    """A view as lists, and as the words of each sequence."""

    def text(values: np.ndarray) -> list[str]:
        return [
            " ".join(words[token] for token in values[view.sequence(n)].tolist()) for n in range(view.num_sequences)
        ]

    arrays = {"tokens": view.tokens, "positions": view.positions, "cu_seqlens": view.cu_seqlens}
    arrays |= {"sample_rows": view.sample_rows, "sample_positions": view.sample_positions}
    shown: dict[str, Any] = {"text": text(view.tokens)}
    if view.labels is not None:
        shown["targets"] = text(view.labels)
        arrays["labels"] = view.labels
    return shown | {name: array.tolist() for name, array in arrays.items()}


def golden(edges: str) -> dict[str, Any]:
    ids = vocabulary()
    config = CorruptionConfig.model_validate({"select": {"kind": "t5_spans", "noise_density": 0.3, "edges": edges}})
    batch = Corruption(config, SPECIAL, 2**16, WINDOW, MAX_PIECES, SEED).apply(samples(ids))
    words = {token: word for word, token in ids.items()}
    return {name: described(view, words) for name, view in batch.views.items()}


@pytest.mark.parametrize("edges", EDGES)
def test_the_golden_batch_comes_out_to_the_last_row(edges: str) -> None:
    assert golden(edges) == json.loads(GOLDEN.read_text(encoding="utf-8"))[edges]


def test_the_golden_file_is_of_these_texts() -> None:
    pieces = json.loads(GOLDEN.read_text(encoding="utf-8"))["pieces"]
    assert pieces == {str(position): texts for position, texts in PIECES.items()}


if __name__ == "__main__":
    text = json.dumps({"pieces": PIECES} | {edges: golden(edges) for edges in EDGES}, indent=1)
    lines: list[str] = []
    for line in text.splitlines():  # numbers go on one line, texts keep their own
        number = line.strip().rstrip(",").lstrip("-").isdigit()
        closing = line.strip().startswith("]") and lines[-1].rstrip().rstrip(",")[-1:].isdigit()
        if number or closing:
            lines[-1] += ("" if lines[-1].endswith("[") or closing else " ") + line.strip()
        else:
            lines.append(line)
    print("\n".join(lines))
