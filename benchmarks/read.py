"""Reading token shards: Mtok/s of one core, beside WebDataset with one sequence a sample, and a flat memory map.

1. The same drawn documents (lengths like a web corpus', log-normal around 400 tokens) as our shards, as tars of
   sequences of one window, one or 256 in a sample, and as one flat file
2. In each round every contender reads all of it once, in CPU seconds: `chunks` is every document of ours in the order
   of the dataset, `windows` our stream's samples in the order of a run (drawn, packed, boundaries of documents known),
   a micro-batch at a time as training asks for them, `windows_one_by_one` the same as single samples; the others read
   their sequences in the order of the file. `chunks_first` is the first touch, which compares digests.

The named ratios are those of `windows`, which is what training reads; `chunks_*` are those of reading in order.
"""

import argparse
import io
import math
import statistics
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import webdataset

from benchmarks import frame
from benchmarks.shards import write_dataset
from data_prep.config import TokenizerConfig
from data_prep.shards import Dataset
from data_prep.shards.reader import Split
from data_prep.tokenizer.special import SPECIAL_PIECES
from data_prep.tokenizer.tokenizer import MODEL_NAME
from data_prep.tokenizer.train import train_model
from pipeline.stream import Stream, StreamConfig

GOALS = {"mtok_per_s_core": 500.0, "vs_webdataset_single": 200.0}
SHARD_TOKENS = 4_000_000
Reading = Callable[[], int]  # reads everything, and gives the number of tokens


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Write the files, run the rounds."""
    frame.on_one_core()
    with tempfile.TemporaryDirectory(prefix="read-") as name:
        documents = _documents(given.megatokens * 1_000_000)
        contenders = _contenders(Path(name), documents, given)
        seconds = frame.interleaved(
            {name: partial(_work, reading) for name, reading in contenders.items()}, ("read",), given.rounds
        )["read"]
    tokens = sum(map(len, documents))
    rates = {name: [tokens / taken / 1e6 for taken in found] for name, found in seconds.items()}
    figures = {
        "mtok_per_s_core": {name: round(statistics.median(found), 1) for name, found in rates.items()},
        "megatokens": round(tokens / 1e6, 1),
        "micro_batch": given.batch,
        "rounds": given.rounds,
    }
    ratios = {"mtok_per_s_core": statistics.median(rates["windows"])}
    for name in ("webdataset_single", "webdataset_256", "memmap"):
        ratios[f"vs_{name}"] = frame.median_ratio(seconds[name], seconds["windows"])
        ratios[f"chunks_vs_{name}"] = frame.median_ratio(seconds[name], seconds["chunks"])
    return frame.Outcome("read", figures, ratios, GOALS, libraries=("numpy", "webdataset"))


def _work(reading: Reading) -> Callable[[str], object]:
    return lambda _: reading()


def _documents(num_tokens: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(math.log(400), 1.0, num_tokens // 400), 8, 20_000).astype(int)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), num_tokens)) + 1]
    tokens = rng.integers(len(SPECIAL_PIECES), len(SPECIAL_PIECES) + 256, int(lengths.sum()), dtype=np.uint16)
    return np.split(tokens, np.cumsum(lengths)[:-1])


def _contenders(folder: Path, documents: list[np.ndarray], given: argparse.Namespace) -> dict[str, Reading]:
    window, batch = given.window, given.batch
    model = train_model([Path(__file__).read_text(encoding="utf-8")], TokenizerConfig(kind="byte"))
    split = write_dataset(folder / "ours", {MODEL_NAME: model.model}, _shards_of(documents), window).split("train")
    stream = Stream(split, StreamConfig(window=window), seed=0)
    flat = np.concatenate(documents)
    (folder / "flat.bin").write_bytes(flat.tobytes())
    sequences = flat[: len(flat) // window * window].reshape(-1, window)
    mapped = np.memmap(folder / "flat.bin", np.uint16, "r")

    def chunks(read: Split) -> int:
        return sum(len(read.chunk(number).tokens.astype(np.int32)) for number in range(read.num_chunks))

    return {
        "chunks": lambda: chunks(split),
        "chunks_first": lambda: chunks(Dataset.open(folder / "ours").split("train")),
        "windows": lambda: sum(
            len(stream.samples(first, min(batch, len(stream) - first)).pieces().tokens)
            for first in range(0, len(stream), batch)
        ),
        "windows_one_by_one": lambda: sum(len(stream.sample(position).tokens) for position in range(len(stream))),
        "webdataset_single": _tars(folder / "single.tar", sequences, 1),
        "webdataset_256": _tars(folder / "many.tar", sequences, 256),
        "memmap": lambda: sum(
            len(mapped[start : start + window].astype(np.int32)) for start in range(0, len(mapped), window)
        ),
    }


def _shards_of(documents: Iterable[np.ndarray]) -> Iterator[list[tuple[str, np.ndarray]]]:
    held, count = list[tuple[str, np.ndarray]](), 0
    for number, document in enumerate(documents):
        held.append((f"drawn:{number}", document))
        count += len(document)
        if count >= SHARD_TOKENS:
            yield held
            held, count = [], 0
    if held:
        yield held


def _tars(path: Path, sequences: np.ndarray, per_sample: int) -> Reading:
    with tarfile.open(path, "w") as tar:
        for number, start in enumerate(range(0, len(sequences), per_sample)):
            data = sequences[start : start + per_sample].tobytes()
            member = tarfile.TarInfo(f"{number:09d}.bin")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

    def read() -> int:
        samples: Iterator[dict[str, bytes]] = iter(webdataset.WebDataset(str(path), shardshuffle=False))
        return sum(len(np.frombuffer(sample["bin"], np.uint16).astype(np.int32)) for sample in samples)

    return read


if __name__ == "__main__":
    command = argparse.ArgumentParser(prog="python -m benchmarks.read", description=__doc__)
    command.add_argument("--megatokens", type=int, default=32, help="tokens to read, in millions (default 32)")
    command.add_argument("--window", type=int, default=568, help="tokens in a sequence (default 568)")
    command.add_argument("--batch", type=int, default=8, help="samples in a micro-batch (default 8)")
    command.add_argument("--rounds", type=int, default=5, help="default 5")
    frame.main(command, measure)
