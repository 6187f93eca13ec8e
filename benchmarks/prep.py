"""The whole preparation (read, clean, dedup exact, tokenize, words, sents, weight idf, write) beside raw SentencePiece.

1. Texts are found on this machine, put in an order that mixes languages, and written as JSON Lines; a unigram model is
   trained on a sample of them, unless one is given. The preparation gets the model: training is not measured.
2. Each round does everything once, in wall-clock seconds: the preparation on Ray with 1 and with 2 workers (Ray is
   running and its workers have prepared a small corpus: its start-up is not measured), as many processes that only
   encode with SentencePiece (segments cut beforehand, as one list), and datatrove, if it is there, reading the same
   files and tokenizing with the same model as tokenizer.json (no cleaning, no duplicates, no columns).
3. `share_of_sentencepiece` is the preparation's rate by that of SentencePiece, both with 2 processes;
   `scaling_1_to_2` the rate with 2 workers by that with 1. Medians of the rounds' ratios.
4. What each part of the work takes alone is measured in CPU seconds of this process (`benchmarks.prep_stages`).
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import corpus, frame
from benchmarks.prep_peers import DATATROVE, SENTENCEPIECE, how_to_get_datatrove
from benchmarks.prep_stages import stage_seconds
from data_prep.build import Build
from data_prep.config import DataConfig, TokenizerConfig
from data_prep.driver import RayWorkers
from data_prep.progress import NoProgress
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.tokenizer import MODEL_NAME
from data_prep.tokenizer.train import train_model

GOALS = {"share_of_sentencepiece": 0.8, "scaling_1_to_2": 1.7}
WORKERS = (1, 2)
STAGES = ["clean", {"kind": "dedup", "near": False}]
COLUMNS = {"words": "unicode", "sents": "rules", "weight": "idf"}
_FILES = 8  # of the corpus: datatrove divides files among its processes
_TRAINING_BYTES = 4 * 2**20
_WARM_BYTES = 2**18


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Find texts, train or load the model, run the rounds, take the stages apart."""
    texts = _texts(given)
    megabytes = _num_bytes(texts) / 1e6
    frame.note(f"{len(texts)} texts, {megabytes:.1f} MB")
    with tempfile.TemporaryDirectory(dir=given.scratch) as name:
        folder = Path(name)
        _write_corpus(folder / "corpus", texts)
        _write_corpus(folder / "warm", texts[:: max(1, round(megabytes * 1e6 / _WARM_BYTES))])
        model = given.tokenizer or _train(texts, given.vocab_size, folder / "tokenizer")
        seconds = _rounds(folder, model, given)
        config = _config(folder / "corpus", model, 1)
        apart = stage_seconds(config, Tokenizer.load(model), folder)
    return frame.Outcome(
        benchmark="prep",
        figures={
            "mb_per_s": {name: round(megabytes / statistics.median(rounds), 2) for name, rounds in seconds.items()},
            "seconds": {name: [round(value, 3) for value in rounds] for name, rounds in seconds.items()},
            "stages_mb_per_cpu_s": {name: round(megabytes / value, 1) for name, value in apart.items()},
            "texts": {"documents": len(texts), "mb": round(megabytes, 2)},
            "rounds": given.rounds,
            "datatrove": "measured" if given.datatrove else how_to_get_datatrove(),
            "excluded": "Ray's start-up, training of the tokenizer",
        },
        ratios=_ratios(seconds),
        goals=GOALS,
        libraries=("ray", "sentencepiece", "numpy", "tokenizers"),
    )


def _texts(given: argparse.Namespace) -> list[str]:
    limit = int(given.megabytes * 1e6)
    groups = {"own": corpus.own_texts(given.text, limit)} if given.text else corpus.natural_texts(limit)
    texts = sorted((text for group in groups.values() for text in group), key=_digest)
    if not texts:
        raise SystemExit("no natural text on this machine: install a documentation package, or give --text PATH")
    return texts


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _write_corpus(folder: Path, texts: Sequence[str]) -> None:
    folder.mkdir()
    for number in range(_FILES):
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts[number::_FILES]]
        (folder / f"{number}.jsonl").write_text("".join(lines), encoding="utf-8")


def _train(texts: list[str], vocab_size: int, out: Path) -> Path:
    """A model of every n-th document, n such that about `_TRAINING_BYTES` are taken."""
    sample = texts[:: max(1, _num_bytes(texts) // _TRAINING_BYTES)]
    frame.note(f"training a unigram model on {len(sample)} texts, {_num_bytes(sample) / 1e6:.1f} MB")
    out.mkdir()
    (out / MODEL_NAME).write_bytes(train_model(sample, TokenizerConfig(vocab_size=vocab_size)).model)
    return out


def _config(corpus_folder: Path, model: Path, workers: int) -> DataConfig:
    content = {
        "paths": [str(corpus_folder)],
        "stages": STAGES,
        "columns": COLUMNS,
        "tokenizer": {"path": str(model / MODEL_NAME)},
        "workers": workers,
    }
    return DataConfig.model_validate(content)


def _rounds(folder: Path, model: Path, given: argparse.Namespace) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {}
    for number in range(given.rounds):
        for workers in WORKERS if number % 2 == 0 else reversed(WORKERS):
            took = {"prep": _prepare(folder, model, workers)}
            took["sentencepiece"] = _peer(SENTENCEPIECE, folder, model, workers)
            if given.datatrove:
                took["datatrove"] = _peer(DATATROVE, folder, model, workers, given.datatrove)
            for name, value in took.items():
                seconds.setdefault(f"{name}_{workers}", []).append(value)
        frame.note(
            f"round {number + 1} of {given.rounds}: { ({name: round(v[-1], 2) for name, v in seconds.items()}) }"
        )
    return seconds


def _prepare(folder: Path, model: Path, workers: int) -> float:
    """Wall-clock seconds of a preparation on warm workers."""
    with RayWorkers(workers) as running, tempfile.TemporaryDirectory(dir=folder) as out:
        running.connect()
        for name in ("warm", "corpus"):
            (Path(out) / name).mkdir()
            build = Build(_config(folder / name, model, workers), Path(out) / name, running.run_tasks, NoProgress())
            begin = time.perf_counter()
            build.run()
            took = time.perf_counter() - begin
    return took


def _peer(program: str, folder: Path, model: Path, workers: int, library: Path | None = None) -> float:
    """Seconds that a peer's program says it took; it runs in a process of its own."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *([str(library)] if library else [])])
    command = [sys.executable, "-c", program, str(folder), str(model), str(workers)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a peer failed:\n{done.stderr[-3000:]}")
    return float(done.stdout.split()[-1])


def _ratios(seconds: dict[str, list[float]]) -> dict[str, float | None]:
    most = WORKERS[-1]
    ratios = {
        "share_of_sentencepiece": frame.median_ratio(seconds[f"sentencepiece_{most}"], seconds[f"prep_{most}"]),
        "share_of_sentencepiece_1": frame.median_ratio(seconds["sentencepiece_1"], seconds["prep_1"]),
        "scaling_1_to_2": frame.median_ratio(seconds["prep_1"], seconds["prep_2"]),
        "sentencepiece_scaling_1_to_2": frame.median_ratio(seconds["sentencepiece_1"], seconds["sentencepiece_2"]),
    }
    rounded: dict[str, float | None] = {name: round(value, 3) for name, value in ratios.items()}
    datatrove = seconds.get(f"datatrove_{most}")
    rounded["vs_datatrove"] = round(frame.median_ratio(datatrove, seconds[f"prep_{most}"]), 3) if datatrove else None
    return rounded


def _num_bytes(texts: Sequence[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def arguments() -> argparse.ArgumentParser:
    """The command line, without what every benchmark has."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prep", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=48.0, help="at most this much of each language")
    parser.add_argument("--vocab-size", type=int, default=32128)
    parser.add_argument("--tokenizer", type=Path, help="a folder with spiece.model instead of training one")
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="natural text of your own, files or folders")
    parser.add_argument("--datatrove", type=Path, help="the folder that datatrove was installed into")
    parser.add_argument("--scratch", type=Path, help="where to write the corpus and the datasets")
    return parser


if __name__ == "__main__":
    frame.main(arguments(), measure)
