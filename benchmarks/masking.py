"""Masking speed on one core: ours from raw windows to padded views, beside the collators of Hugging Face and RetroMAE.

1. Windows of random tokens, all of one length; each contender makes whole batches of the same windows.
2. Rounds are interleaved, in CPU seconds; a ratio is the median over the rounds of seconds per token. In a round each
   contender works for about as long (30 ms), so that none is measured on caches that another one has just filled.
3. RetroMAE's counterpart is two masked views (rates 0.3 and 0.5) and, for every pair of positions, the keep test that
   our attention makes instead of reading an [L, L] matrix.
"""

import argparse
import ctypes
import functools
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import frame, masking_peers
from data_prep import native
from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample
from pipeline.kernels.philox import probability_threshold

GOALS = {"t5_mtok_per_s_core": 100.0, "t5_vs_hf_collator": 40.0, "dupmae_vs_retromae_collator": 1000.0}
SPECIAL, VOCAB_SIZE = SpecialTokens(), 32128
T5_WINDOW, LENGTH = 568, 512
ENCODER_RATE, DECODER_RATE = 0.3, 0.5
_T5 = {"select": {"kind": "t5_spans"}}
_UL2 = (
    _T5,
    {"select": {"kind": "t5_spans", "mean_span_length": 8.0}},
    {"select": {"kind": "t5_spans", "noise_density": 0.5, "mean_span_length": 3.0}},
    {"select": {"kind": "t5_spans", "noise_density": 0.5, "mean_span_length": 8.0}},
    {"select": {"kind": "t5_spans", "mean_span_length": 64.0}},
    {"select": {"kind": "t5_spans", "noise_density": 0.5, "mean_span_length": 64.0}},
    {"select": {"kind": "suffix"}},
)
_BART = {
    "select": {"kind": "poisson_spans"},
    "replace": {"kind": "mask_per_span"},
    "layout": {"kind": "full_reconstruction"},
}
_BERT = {
    "select": {"kind": "exactly_k"},
    "replace": {"kind": "token_by_token"},
    "layout": {"kind": "in_place"},
}


def measure(given: argparse.Namespace) -> frame.Outcome:
    """Run all contenders in rounds."""
    frame.on_one_core()
    work = _work(given.batch)
    for run, _ in work.values():
        run()
    contenders = {name: functools.partial(_begin, run) for name, (run, _) in work.items()}
    seconds = frame.interleaved(contenders, ["batches"], given.rounds)["batches"]
    per_token = {name: [each / work[name][1] for each in seconds[name]] for name in work}
    speeds = {f"{name}_mtok_per_s": 1e-6 / statistics.median(values) for name, values in per_token.items()}
    ratios = {
        "t5_mtok_per_s_core": speeds["t5_mtok_per_s"],
        "t5_vs_hf_collator": frame.median_ratio(per_token["hf_collator"], per_token["t5"]),
        "dupmae_vs_retromae_collator": frame.median_ratio(per_token["retromae_collator"], per_token["dupmae"]),
    }
    figures: dict[str, Any] = {**speeds, "batch": given.batch, "rounds": given.rounds}
    return frame.Outcome("masking", figures, ratios, GOALS, libraries=("numpy",))


def _begin(run: Callable[[], object]) -> Callable[[str], object]:
    return lambda _: run()


def _work(batch: int) -> dict[str, tuple[Callable[[], object], int]]:
    """What each contender runs in a round, and for how many tokens."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(171, VOCAB_SIZE, (batch, T5_WINDOW)).astype(np.uint16)
    samples = [GivenSample(i, row, np.array([0, T5_WINDOW])) for i, row in enumerate(tokens)]
    short = [GivenSample(i, row[:LENGTH], np.array([0, LENGTH])) for i, row in enumerate(tokens)]
    ids, size = tokens.astype(np.int64), tokens.size
    t5, bart, bert = (_corruption(config, T5_WINDOW) for config in (_T5, _BART, _BERT))
    ul2 = [_corruption(config, T5_WINDOW) for config in _UL2]
    dupmae, example = _dupmae(short), ids[0, :LENGTH].tolist()
    spellings = ["[CLS]", *("##a" if index % 4 == 0 else "a" for index in range(2, LENGTH)), "[SEP]"]
    return {
        "t5": (lambda: _repeat(200, lambda: t5.apply(samples)), 200 * size),
        "bart": (lambda: _repeat(200, lambda: bart.apply(samples)), 200 * size),
        "bert": (lambda: _repeat(200, lambda: bert.apply(samples)), 200 * size),
        "ul2": (lambda: _repeat(20, *(functools.partial(each.apply, samples) for each in ul2)), 20 * len(ul2) * size),
        "dupmae": (lambda: _repeat(6, dupmae), 6 * batch * LENGTH),
        "hf_collator": (
            lambda: _repeat(5, lambda: masking_peers.t5_collator(ids, 0.15, 3.0, SPECIAL.first_sentinel, SPECIAL.eos)),
            5 * size,
        ),
        "retromae_collator": (
            lambda: masking_peers.retromae_collator(example, spellings, SPECIAL.mask, ENCODER_RATE, DECODER_RATE),
            LENGTH,
        ),
    }


def _corruption(config: dict[str, Any], window: int) -> Corruption:
    return Corruption(CorruptionConfig.model_validate(config), SPECIAL, VOCAB_SIZE, window, 1, 0)


def _repeat(times: int, *runs: Callable[[], object]) -> None:
    for _ in range(times):
        for run in runs:
            run()


def _dupmae(samples: list[GivenSample]) -> Callable[[], None]:
    masked = {**_BERT, "replace": {"kind": "token_by_token", "mask": 1.0, "random": 0.0}}
    encoder, decoder = ({"kind": "exactly_k", "rate": rate} for rate in (ENCODER_RATE, DECODER_RATE))
    views = _corruption({**masked, "select": encoder, "second_draw": {"select": decoder}}, LENGTH)
    library = native.load(Path(__file__).with_suffix(".cpp"))
    if library is None:
        raise InputError("benchmarks.masking needs a C++ compiler. Install g++, or set CXX.")
    keep, limit = library.keep_test, probability_threshold(1.0 - DECODER_RATE, bits=16)
    keep.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, *3 * [ctypes.c_uint32]]
    keep.restype = ctypes.c_int64

    def run() -> None:
        positions = views.apply(samples).positions
        keep(len(positions), LENGTH, positions.ctypes.data, 1, 2, limit)

    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.masking", description=__doc__)
    parser.add_argument("--batch", type=int, default=128, help="windows of a batch (T5: 128, section 3.1.2)")
    parser.add_argument("--rounds", type=int, default=7)
    frame.main(parser, measure)
