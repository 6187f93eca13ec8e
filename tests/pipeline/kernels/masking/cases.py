"""What masking is tested on: every combination of select, replace and layout, and samples of pieces of any length."""

import contextlib
import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import Batch
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample

SPECIAL = SpecialTokens()
VOCAB_SIZE = 32128
WINDOW, MAX_PIECES = 128, 12
COLUMNS = ("words", "ngrams", "sents", "spans", "weight")
SELECTS = (
    {"kind": "t5_spans"},
    {"kind": "t5_spans", "edges": "free", "noise_density": 0.5, "mean_span_length": 2.5},
    {"kind": "t5_spans", "noise_density": 0.99},
    *({"kind": kind, "rate": rate} for kind in ("each_token", "exactly_k") for rate in (0.0, 0.15, 0.6, 1.0)),
    *({"kind": "poisson_spans", "noise_density": density} for density in (0.0, 0.3, 1.0)),
    {"kind": "poisson_spans", "noise_density": 0.2, "mean_span_length": 0.5},
    *({"kind": "geometric_spans", "noise_density": density} for density in (0.15, 0.9, 1.0)),
    {"kind": "suffix"},
    *({"kind": kind, "rate": rate} for kind in ("weighted", "permutation_tail") for rate in (0.0, 0.2, 1.0)),
    *({"kind": "whole_words", "draw": draw, "rate": 0.3} for draw in ("tokens", "units", "each")),
    {"kind": "whole_words", "rate": 1.0},
    {"kind": "whole_words", "column": "ngrams", "rate": 0.0},
    {"kind": "ngrams"},
    {"kind": "ngrams", "rate": 0.6, "shares": [0.0, 0.5, 0.25, 0.25]},
    {"kind": "given_spans"},
    {"kind": "given_spans", "rate": 1.0, "max_spans": 3},
)
SIMILAR = {"kind": "token_by_token", "mask": 0.1, "random": 0.2, "similar": 0.5, "table": ""}
REPLACES = (
    {"kind": "sentinel_per_span"},
    {"kind": "mask_per_span"},
    {"kind": "token_by_token"},
    {"kind": "token_by_token", "mask": 1.0, "random": 0.0},
    {"kind": "token_by_token", "mask": 0.0, "random": 1.0},
    {"kind": "dropped"},
    SIMILAR,
)
LAYOUTS = (
    {"kind": "sentinel_targets"},
    {"kind": "full_reconstruction"},
    {"kind": "full_reconstruction", "reorder": True},
    {"kind": "in_place"},
    {"kind": "in_place", "ends": False},
    {"kind": "visible_only"},
    {"kind": "visible_only", "ends": True},
    {"kind": "permuted"},
    {"kind": "permuted", "ends": True},
)


def save_similar_table(folder: Path) -> None:
    """Before SIMILAR is used."""
    np.save(folder / "similar.npy", np.random.default_rng(4).integers(0, VOCAB_SIZE, (VOCAB_SIZE, 7), dtype=np.int32))
    SIMILAR["table"] = str(folder / "similar.npy")


@functools.cache
def corruptions(window: int, max_pieces: int, step: int = 1) -> list[Corruption]:
    """Every combination, or every `step`th, that can work on windows of this size."""
    made = []
    combinations = enumerate(itertools.product(SELECTS, REPLACES, LAYOUTS))
    for seed, (select, replace, layout) in itertools.islice(combinations, 0, None, step):
        config = CorruptionConfig.model_validate({"select": select, "replace": replace, "layout": layout})
        with contextlib.suppress(InputError):  # more spans than sentinels; a layout that needs another rule
            made.append(Corruption(config, SPECIAL, VOCAB_SIZE, window, max_pieces, seed))
    return made


def random_sample(rng: np.random.Generator, window: int) -> GivenSample:
    """Pieces of any length, 0, 1 and 2 often; a tenth of the samples hold special tokens only."""
    lengths = rng.choice([0, 1, 2, 3, 5, 16, 17, 40], rng.integers(1, MAX_PIECES + 1))
    offsets = np.minimum(np.concatenate([[0], np.cumsum(lengths)]), window)
    top = 171 if rng.random() < 0.1 else VOCAB_SIZE
    tokens = rng.integers(0, top, offsets[-1]).astype(rng.choice([np.uint16, np.uint32, np.int64]))
    return GivenSample(int(rng.integers(0, 2**62)), tokens, offsets, random_columns(rng, offsets[-1]))


def random_columns(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """Marks of short words and long sentences, weights of all sizes (0 and 255 often), spans with text between."""
    columns = {name: rng.random(length) < share for name, share in (("words", 0.6), ("ngrams", 0.3), ("sents", 0.1))}
    columns["spans"] = rng.choice([0, 1, 2], length, p=[0.5, 0.2, 0.3])
    columns["weight"] = np.where(rng.random(length) < 0.3, rng.choice([0, 255], length), rng.integers(0, 256, length))
    return {name: values.astype(np.uint8) for name, values in columns.items()}


def assert_equal_views(expected: Batch, got: Batch, message: str) -> None:
    """The same arrays, of the same types."""
    for field in dataclasses.fields(expected):
        theirs, ours = getattr(expected, field.name), getattr(got, field.name)
        assert (theirs is None) == (ours is None), f"{message}.{field.name}"
        if theirs is not None:
            assert ours.dtype == theirs.dtype, f"{message}.{field.name}"
            np.testing.assert_array_equal(ours, theirs, f"{message}.{field.name}")


LONG = (
    ({"kind": "t5_spans", "noise_density": 0.05, "mean_span_length": 5.0}, REPLACES[0], LAYOUTS[0]),
    ({"kind": "t5_spans", "edges": "free", "noise_density": 0.5}, REPLACES[1], LAYOUTS[0]),
    ({"kind": "poisson_spans"}, REPLACES[1], {"kind": "full_reconstruction"}),
    ({"kind": "exactly_k", "rate": 0.4}, REPLACES[2], {"kind": "in_place"}),
    ({"kind": "each_token"}, REPLACES[2], {"kind": "visible_only", "ends": True}),
    ({"kind": "weighted", "rate": 0.4}, REPLACES[2], {"kind": "in_place"}),
    ({"kind": "permutation_tail"}, SIMILAR, {"kind": "permuted", "ends": True}),
    ({"kind": "whole_words", "draw": "each"}, REPLACES[5], {"kind": "full_reconstruction", "reorder": True}),
    ({"kind": "ngrams", "rate": 0.4}, REPLACES[2], {"kind": "in_place"}),
    ({"kind": "given_spans"}, REPLACES[0], {"kind": "sentinel_targets"}),
)


def long_corruption(select: dict[str, Any], replace: dict[str, Any], layout: dict[str, Any]) -> Corruption:
    """A combination on windows of 8,192 tokens."""
    config = CorruptionConfig.model_validate({"select": select, "replace": replace, "layout": layout})
    return Corruption(config, SPECIAL, VOCAB_SIZE, 8192, 1, seed=5)


def long_samples() -> list[GivenSample]:
    """One piece each: of 8,192 tokens, of 8,191, of none."""
    rng = np.random.default_rng(1)
    text = rng.integers(171, VOCAB_SIZE, 8192)
    return [
        GivenSample(position, text[:length], np.array([0, length]), random_columns(rng, length))
        for position, length in ((7, 8192), (2**40, 8191), (1, 0))
    ]
