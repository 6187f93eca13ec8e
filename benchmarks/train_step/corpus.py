"""What the contenders train on, each from one tokenizer and one set of shards.

    natural   every function and class of the standard library is a document; lengths as they are
    fixed     the same tokens cut into documents of exactly one window (a multiple of it is left over and dropped)

Ours reads the shards. The others get the same text as ready-made batches of the usual T5 collator: documents cut at a
window, corrupted one by one, and padded (natural), or windows that are all alike (fixed). Making them is not timed.
"""

import ast
import itertools
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.masking_peers import t5_collator
from benchmarks.shards import write_dataset
from data_prep.errors import InputError
from data_prep.shards import Dataset
from data_prep.tokenizer import Tokenizer
from launch.stages import run_stages
from pipeline.config import load_config

KINDS = ("fixed", "natural")
IGNORED = -100
_NOISE_DENSITY, _MEAN_SPAN = 0.15, 3.0
_SHORTEST_TOKENS = 8  # too short to lose a span
Padded = dict[str, np.ndarray]  # input_ids, attention_mask and labels, [B, L] each


def prepare(cache: Path, window: int, vocab_size: int) -> dict[str, Path]:
    """The dataset of each kind below `cache`; what is there already is kept."""
    natural = prepare_natural(cache, window, vocab_size)
    fixed = cache / f"fixed-{window}"
    if not (fixed / "manifest.json").exists():
        _cut_to_windows(Dataset.open(natural), fixed, window)
    return {"fixed": fixed, "natural": natural}


def prepare_natural(cache: Path, window: int, vocab_size: int, heldout_fraction: float = 0.0) -> Path:
    """The dataset of whole documents below `cache`; what is there already is kept."""
    texts = cache / "definitions.jsonl"
    if not texts.exists():
        cache.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps({"text": text}) for text in _definitions())
        texts.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    natural = cache / "natural"
    config = load_config(
        "t5_span",
        [
            f"data.paths=[{texts}]", f"data.dir={natural}", f"run.dir={cache / 'prep'}", f"stream.window={window}",
            f"data.shards.window_sizes=[{window}]", f"data.heldout_fraction={heldout_fraction}", "data.workers=1",
            f"data.tokenizer={{kind: bpe, vocab_size: {vocab_size}, sample_bytes: 4000000}}",
        ],
    )  # fmt: skip
    run_stages(config, ("prep",))
    return natural


def batches(kind: str, folder: Path, window: int, batch: int, count: int, pad_to_window: bool = False) -> list[Padded]:
    """The first `count` batches of the usual collator; `pad_to_window` makes all of one shape, as compilers like."""
    least = corrupted_lengths(window) if pad_to_window else (0, 0)
    return list(itertools.islice(collated(folder, "train", window, batch, least), count))


def collated(
    folder: Path, split: str, window: int, batch: int, least: tuple[int, int] = (0, 0), seed: int = 0
) -> Iterator[Padded]:
    """All whole batches of a split in a drawn order, rows padded to at least `least` tokens of input and labels."""
    np.random.seed(seed)
    dataset = Dataset.open(folder)
    tokenizer = Tokenizer.load(dataset.tokenizer_folder)
    documents = pieces(dataset, split, window)
    while len(rows := list(itertools.islice(documents, batch))) == batch:
        yield _padded([_corrupted(row, tokenizer) for row in rows], least)


def real_tokens(batch: Padded) -> int:
    """Tokens that are not padding, of input and labels."""
    return int(batch["attention_mask"].sum() + (batch["labels"] != IGNORED).sum())


def _definitions() -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*/*.py")):
        if path.parent.name in ("test", "idlelib", "site-packages"):
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_source_segment(text, node) or ""


def _cut_to_windows(natural: Dataset, folder: Path, window: int) -> None:
    split = natural.split("train")
    tokens = np.concatenate([split.chunk(number).tokens for number in range(split.num_chunks)])
    documents = [
        (f"window:{number}", tokens[start : start + window])
        for number, start in enumerate(range(0, len(tokens) - window + 1, window))
    ]
    tokenizer_files = {file.name: file.read_bytes() for file in natural.tokenizer_folder.iterdir()}
    write_dataset(folder, tokenizer_files, [documents], window)


def pieces(dataset: Dataset, name: str, window: int) -> Iterator[np.ndarray]:
    """Documents of a split in a drawn order, the long ones cut at the window so that no token is lost."""
    split = dataset.split(name)
    found: list[np.ndarray] = []
    for number in range(split.num_chunks):
        chunk = split.chunk(number)
        for start, stop in itertools.pairwise(chunk.docs.tolist()):
            found += [chunk.tokens[at : min(at + window, stop)] for at in range(start, stop, window)]
    found = [piece for piece in found if len(piece) >= _SHORTEST_TOKENS]
    for number in np.random.permutation(len(found)):
        yield found[number].astype(np.int64)


def _corrupted(tokens: np.ndarray, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    special = tokenizer.special
    encoder, labels, _ = t5_collator(tokens[None], _NOISE_DENSITY, _MEAN_SPAN, special.first_sentinel, special.eos)
    return encoder[0], labels[0]


def corrupted_lengths(window: int) -> tuple[int, int]:
    """Tokens of input and labels that a whole window gives, with the end of sequence."""
    noise = round(window * _NOISE_DENSITY)
    spans = round(noise / _MEAN_SPAN)
    return window - noise + spans + 1, noise + spans + 1


def window_of(encoder: int, decoder: int) -> int:
    """The window that gives so many tokens of input and labels; InputError where none does."""
    lengths = {window: corrupted_lengths(window) for window in range(1, encoder + decoder)}
    for window, found in lengths.items():
        if found == (encoder, decoder):
            return window
    likely = min(lengths.values(), key=lambda found: abs(found[0] - encoder))
    raise InputError(f"--seq {encoder} {decoder}: no window gives these; {likely[0]} {likely[1]} are the nearest")


def _padded(rows: list[tuple[np.ndarray, np.ndarray]], least: tuple[int, int]) -> Padded:
    inputs, labels = ([row[side] for row in rows] for side in (0, 1))
    width, height = (max(length, *map(len, side)) for length, side in zip(least, (inputs, labels), strict=True))
    return {
        "input_ids": np.stack([np.pad(row, (0, width - len(row))) for row in inputs]),
        "attention_mask": np.stack([np.pad(np.ones(len(row), np.int64), (0, width - len(row))) for row in inputs]),
        "labels": np.stack([np.pad(row, (0, height - len(row)), constant_values=IGNORED) for row in labels]),
    }
