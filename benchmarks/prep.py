"""The whole preparation (read, clean, dedup exact, tokenize, words, sents, weight idf, write) beside raw SentencePiece.

1. Texts are found on this machine, put in an order that mixes languages, and written as JSON Lines; a unigram model is
   trained on a sample of them, unless one is given. The preparation gets the model: training is not measured. What
   does not grow with the corpus counts for little from about 150 MB on. `apt-get download` of documentation in many
   languages and `dpkg-deb -x` into a folder for `--unpacked` give that much.
2. Each round does everything once, in wall-clock seconds: the preparation on Ray with 1 and with 2 workers (Ray is
   running and each worker has prepared a part of a small corpus: its start-up is not measured), as many processes that
   only encode with SentencePiece (segments cut beforehand, as one list), and datatrove, if it is there, reading the
   same files and tokenizing with the same model as tokenizer.json (no cleaning, no duplicates, no columns).
3. `share_of_sentencepiece` is the preparation's rate by that of SentencePiece, both with 2 processes;
   `scaling_1_to_2` the rate with 2 workers by that with 1. Medians of the rounds' ratios. `cpu_share_of_sentencepiece`
   compares CPU seconds instead (all of Ray's processes included): what else the machine does matters less to it.
4. What each part of the work takes alone is measured in CPU seconds of this process (`benchmarks.prep_stages`).
"""

import argparse
import contextlib
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
from typing import Any

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
Seconds = dict[str, list[float]]
STAGES = ["clean", {"kind": "dedup", "near": False}]
COLUMNS = {"words": "unicode", "sents": "rules", "weight": "idf"}
_FILES = 8  # of the corpus: datatrove divides files among its processes
_TRAINING_BYTES = 4 * 2**20
_WARM_BYTES = 2**18
_WARM_SPLIT_BYTES = 2**13  # more units than workers: each takes part


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
        seconds, cpu_seconds = _rounds(folder, model, given)
        config = _config(folder / "corpus", model, 1)
        apart = stage_seconds(config, Tokenizer.load(model), folder)
    return frame.Outcome(
        benchmark="prep",
        figures={
            "mb_per_s": {name: round(megabytes / statistics.median(rounds), 2) for name, rounds in seconds.items()},
            "seconds": {name: [round(value, 3) for value in rounds] for name, rounds in seconds.items()},
            "cpu_seconds": {name: [round(value, 3) for value in rounds] for name, rounds in cpu_seconds.items()},
            "stages_mb_per_cpu_s": {name: round(megabytes / value, 1) for name, value in apart.items()},
            "texts": {"documents": len(texts), "mb": round(megabytes, 2)},
            "rounds": given.rounds,
            "datatrove": "measured" if given.datatrove else how_to_get_datatrove(),
            "excluded": "Ray's start-up, training of the tokenizer",
        },
        ratios=_ratios(seconds, cpu_seconds),
        goals=GOALS,
        libraries=("ray", "sentencepiece", "numpy", "tokenizers"),
    )


def _texts(given: argparse.Namespace) -> list[str]:
    limit = int(given.megabytes * 1e6)
    groups = {"own": corpus.own_texts(given.text, limit)} if given.text else corpus.natural_texts(limit, given.unpacked)
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


def _config(corpus_folder: Path, model: Path, workers: int, **more: Any) -> DataConfig:
    content = {
        "paths": [str(corpus_folder)],
        "stages": STAGES,
        "columns": COLUMNS,
        "tokenizer": {"path": str(model / MODEL_NAME)},
        "workers": workers,
        **more,
    }
    return DataConfig.model_validate(content)


def _rounds(folder: Path, model: Path, given: argparse.Namespace) -> tuple[Seconds, Seconds]:
    """Wall-clock seconds by contender and number of processes, of each round; and CPU seconds."""
    seconds: Seconds = {}
    cpu_seconds: Seconds = {}
    for number in range(given.rounds):
        for workers in WORKERS if number % 2 == 0 else reversed(WORKERS):
            took, spent = dict[str, float](), dict[str, float]()
            spent["prep"], took["prep"] = _prepare(folder, model, workers)
            spent["sentencepiece"], took["sentencepiece"] = _peer(SENTENCEPIECE, folder, model, workers)
            if given.datatrove:
                [took["datatrove"]] = _peer(DATATROVE, folder, model, workers, given.datatrove)
            for kept, values in ((seconds, took), (cpu_seconds, spent)):
                for name, value in values.items():
                    kept.setdefault(f"{name}_{workers}", []).append(value)
        frame.note(
            f"round {number + 1} of {given.rounds}: { ({name: round(v[-1], 2) for name, v in seconds.items()}) }"
        )
    return seconds, cpu_seconds


def _prepare(folder: Path, model: Path, workers: int) -> tuple[float, float]:
    """CPU seconds and wall-clock seconds of a preparation on warm workers."""
    with RayWorkers(workers) as running, tempfile.TemporaryDirectory(dir=folder) as out:
        running.connect()
        for name, more in (("warm", {"split_bytes": _WARM_SPLIT_BYTES}), ("corpus", {})):
            (Path(out) / name).mkdir()
            config = _config(folder / name, model, workers, **more)
            build = Build(config, Path(out) / name, running.run_tasks, NoProgress())
            spent, begin = _family_cpu_seconds(), time.perf_counter()
            build.run()
            took, spent = time.perf_counter() - begin, _family_cpu_seconds() - spent
    return spent, took


def _family_cpu_seconds() -> float:
    """CPU seconds of this process and of all that descend from it and are alive."""
    parents, ticks = dict[int, int](), dict[int, int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)], ticks[int(stat.parent.name)] = int(fields[1]), sum(map(int, fields[11:13]))
    family = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks.get(process, 0) for process in family) / os.sysconf("SC_CLK_TCK")


def _peer(program: str, folder: Path, model: Path, workers: int, library: Path | None = None) -> list[float]:
    """The seconds that a peer's program prints; it runs in a process of its own."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *([str(library)] if library else [])])
    command = [sys.executable, "-c", program, str(folder), str(model), str(workers)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a peer failed:\n{done.stderr[-3000:]}")
    return [float(value) for value in done.stdout.splitlines()[-1].split()]


def _ratios(seconds: Seconds, cpu_seconds: Seconds) -> dict[str, float | None]:
    most = WORKERS[-1]
    ratios = {
        "share_of_sentencepiece": frame.median_ratio(seconds[f"sentencepiece_{most}"], seconds[f"prep_{most}"]),
        "share_of_sentencepiece_1": frame.median_ratio(seconds["sentencepiece_1"], seconds["prep_1"]),
        "cpu_share_of_sentencepiece": frame.median_ratio(
            cpu_seconds[f"sentencepiece_{most}"], cpu_seconds[f"prep_{most}"]
        ),
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
    parser.add_argument("--megabytes", type=float, default=160.0, help="at most this much of each language")
    parser.add_argument("--vocab-size", type=int, default=32128)
    parser.add_argument("--tokenizer", type=Path, help="a folder with spiece.model instead of training one")
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="natural text of your own, files or folders")
    parser.add_argument("--unpacked", type=Path, nargs="+", default=[], help="Debian packages, by dpkg-deb -x")
    parser.add_argument("--datatrove", type=Path, help="the folder that datatrove was installed into")
    parser.add_argument("--scratch", type=Path, help="where to write the corpus and the datasets")
    return parser


if __name__ == "__main__":
    frame.main(arguments(), measure)
