"""Encoding speed on one core: ours, SentencePiece itself, and Hugging Face tokenizers, with the same model and texts.

1. Texts are found on this machine and a unigram model is trained on a sample of them, unless one is given.
2. Each round encodes everything once with each contender, single-threaded, in CPU seconds. Ours begins each round with
   an empty cache, as at the start of a corpus, and cuts the segments itself. SentencePiece and Hugging Face get the
   encoding segments, cut beforehand, one by one and as a list; their better way counts.
3. `vs_...` are medians of the rounds' ratios on natural text; those on code have the suffix `_code`. `identical` is the
   share of documents, of any kind, whose ids are those of SentencePiece.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from benchmarks import corpus, frame
from data_prep.config import TokenizerConfig
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.segments import segments
from data_prep.tokenizer.tokenizer import MODEL_NAME
from data_prep.tokenizer.train import train_model

GOALS = {"vs_sentencepiece": 3.0, "identical": 1.0}
CODE = "code"
_TRAINING_BYTES = 12 * 2**20


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Find texts, train or load the model, compare ids, run the rounds."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    groups = _groups(given)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer_folder = given.tokenizer or _train(groups, given.vocab_size, Path(folder))
        tokenizer = Tokenizer.load(tokenizer_folder)
        frame.on_one_core()
        frame.note("comparing ids with SentencePiece")
        identical = _share_identical(tokenizer, groups)
        hugging_face = _hugging_face(tokenizer_folder, Path(folder))
        seconds = frame.interleaved(_contenders(groups, tokenizer_folder, hugging_face), list(groups), given.rounds)
    return frame.Outcome(
        benchmark="tokenize",
        figures=_figures(tokenizer, groups, seconds, given.rounds),
        ratios={**_ratios(seconds), "identical": identical},
        goals=GOALS,
        libraries=("sentencepiece", "tokenizers", "numpy"),
    )


def _groups(given: argparse.Namespace) -> dict[str, list[str]]:
    limit = int(given.megabytes * 1e6)
    natural = {"own": corpus.own_texts(given.text, limit)} if given.text else corpus.natural_texts(limit)
    groups = {name: texts for name, texts in {**natural, CODE: corpus.code_texts(limit)}.items() if texts}
    for name, texts in groups.items():
        frame.note(f"{name}: {len(texts)} texts, {_num_bytes(texts) / 1e6:.1f} MB")
    if not groups.keys() - {CODE}:
        raise SystemExit("no natural text on this machine: install a documentation package, or give --text PATH")
    return groups


def _train(groups: dict[str, list[str]], vocab_size: int, folder: Path) -> Path:
    """A model of every n-th document, n such that about `_TRAINING_BYTES` are taken."""
    stride = max(1, sum(_num_bytes(texts) for texts in groups.values()) // _TRAINING_BYTES)
    sample = [text for texts in groups.values() for text in texts[::stride]]
    frame.note(f"training a unigram model on {len(sample)} texts, {_num_bytes(sample) / 1e6:.1f} MB")
    out = folder / "tokenizer"
    out.mkdir()
    (out / MODEL_NAME).write_bytes(train_model(sample, TokenizerConfig(vocab_size=vocab_size)).model)
    return out


def _share_identical(tokenizer: Tokenizer, groups: dict[str, list[str]]) -> float:
    equal = [
        np.array_equal(tokenizer.encode(text), tokenizer.encode_slowly(text))
        for texts in groups.values()
        for text in texts
    ]
    return sum(equal) / len(equal)


def _hugging_face(tokenizer_folder: Path, folder: Path) -> Any:
    import tokenizers

    from pipeline.export.tokenizer import export_tokenizer

    out = folder / "hugging_face"
    out.mkdir()
    export_tokenizer(Path(tokenizer_folder), out)
    return tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))


def _contenders(
    groups: dict[str, list[str]], tokenizer_folder: Path, hugging_face: Any
) -> dict[str, Callable[[], Callable[[str], object]]]:
    """Each way to encode a group of texts, by its name."""
    parts = {name: [part for text in texts for part in segments(text)] for name, texts in groups.items()}
    processor = sentencepiece.SentencePieceProcessor(model_file=str(Path(tokenizer_folder) / MODEL_NAME))

    def ours() -> Callable[[str], object]:
        tokenizer = Tokenizer.load(tokenizer_folder)
        tokenizer.encode("")  # builds the encoder
        return lambda name: [len(tokenizer.encode(text)) for text in groups[name]]

    return {
        "ours": ours,
        "sentencepiece_each": lambda: (
            lambda name: [len(processor.encode(part, return_type="numpy")) for part in parts[name]]
        ),
        "sentencepiece_list": lambda: lambda name: processor.encode(parts[name], return_type="numpy", num_threads=1),
        "hf_each": lambda: (
            lambda name: [len(hugging_face.encode(part, add_special_tokens=False).ids) for part in parts[name]]
        ),
        "hf_list": lambda: (
            lambda name: [len(done.ids) for done in hugging_face.encode_batch(parts[name], add_special_tokens=False)]
        ),
    }


def _best(seconds: dict[str, list[float]], prefix: str) -> list[float]:
    """The better of a library's two ways, by its median over the rounds."""
    return min((seconds[name] for name in seconds if name.startswith(prefix)), key=statistics.median)


def _summed(seconds: dict[str, dict[str, list[float]]]) -> dict[str, list[float]]:
    """Seconds over all groups of natural text, by contender and round."""
    groups = [group for name, group in seconds.items() if name != CODE]
    return {name: [sum(round_) for round_ in zip(*[g[name] for g in groups], strict=True)] for name in groups[0]}


def _ratios(seconds: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    parts = {"": _summed(seconds), "_code": seconds[CODE]}
    return {
        f"vs_{name}{suffix}": round(frame.median_ratio(_best(part, prefix), part["ours"]), 3)
        for suffix, part in parts.items()
        for name, prefix in (("sentencepiece", "sentencepiece"), ("hf_tokenizers", "hf_"))
    }


def _figures(
    tokenizer: Tokenizer, groups: dict[str, list[str]], seconds: dict[str, dict[str, list[float]]], rounds: int
) -> dict[str, Any]:
    megabytes = {name: _num_bytes(texts) / 1e6 for name, texts in groups.items()}
    natural = sum(size for name, size in megabytes.items() if name != CODE)
    speeds = {"natural": _speeds(_summed(seconds), natural)}
    speeds |= {name: _speeds(group, megabytes[name]) for name, group in seconds.items()}
    return {
        "mb_per_s": speeds,
        "texts": {name: {"documents": len(texts), "mb": round(megabytes[name], 2)} for name, texts in groups.items()},
        "vocab_size": tokenizer.vocab_size,
        "rounds": rounds,
        "fast_encoder": tokenizer.why_slow or "in use",
    }


def _speeds(seconds: dict[str, list[float]], megabytes: float) -> dict[str, float]:
    return {name: round(megabytes / statistics.median(rounds), 2) for name, rounds in seconds.items()}


def _num_bytes(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def arguments() -> argparse.ArgumentParser:
    """The command line, without what every benchmark has."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenize", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=3.0, help="at most this much of each language, and of code")
    parser.add_argument("--vocab-size", type=int, default=32128)
    parser.add_argument("--tokenizer", type=Path, help="a folder with spiece.model instead of training one")
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="natural text of your own, files or folders")
    return parser


if __name__ == "__main__":
    frame.main(arguments(), measure)
