"""The C++ kernel against its specification in NumPy: the same bits, for every combination and any lengths."""

import contextlib
import dataclasses
import functools
import itertools

import numpy as np
import pytest

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import Views
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample, gather_pieces
from pipeline.kernels import masking
from pipeline.kernels.masking import cpu, reference

SPECIAL = SpecialTokens()
VOCAB_SIZE = 32128
WINDOW, MAX_PIECES = 128, 12
POISON = 123456789
EMPTY = np.random.default_rng(0)
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
    {"kind": "permuted"},
)


@pytest.fixture(scope="module", autouse=True)
def _similar_table(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("table") / "similar.npy"
    np.save(path, np.random.default_rng(4).integers(0, VOCAB_SIZE, (VOCAB_SIZE, 7), dtype=np.int32))
    SIMILAR["table"] = str(path)


@functools.cache
def corruptions(window: int, max_pieces: int) -> list[Corruption]:
    """Every combination that can work on windows of this size."""
    made = []
    for seed, (select, replace, layout) in enumerate(itertools.product(SELECTS, REPLACES, LAYOUTS)):
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


def assert_same(made: Corruption, samples: list[GivenSample]) -> Views:
    pieces = gather_pieces(samples, COLUMNS)
    theirs, ours = reference.mask(made._plan, pieces), cpu.mask(made._plan, pieces)
    assert list(theirs) == list(ours)
    for name, view in theirs.items():
        for field in dataclasses.fields(view):
            expected, got = getattr(view, field.name), getattr(ours[name], field.name)
            if expected is None:
                assert got is None
                continue
            assert got.dtype == expected.dtype, (name, field.name)
            np.testing.assert_array_equal(got, expected, f"{made.config} {name}.{field.name}")
    return ours


def compare(samples_each: int, step: int = 1) -> int:
    """Compare every (or every `step`th) combination on so many samples; returns the number of pieces compared."""
    rng, count = np.random.default_rng(0), 0
    for made in corruptions(WINDOW, MAX_PIECES)[::step]:
        samples = [random_sample(rng, WINDOW) for _ in range(samples_each)]
        assert_same(made, samples)
        count += sum(len(sample.piece_offsets) - 1 for sample in samples)
    return count


def test_kernel_and_reference_agree_on_20_000_pieces_of_every_third_combination() -> None:
    assert len(corruptions(WINDOW, MAX_PIECES)) > 200
    assert compare(14, step=3) > 20_000


@pytest.mark.long
def test_kernel_and_reference_agree_on_500_000_pieces_of_every_combination() -> None:
    assert compare(350) > 500_000


LONG = (
    ({"kind": "t5_spans", "noise_density": 0.05, "mean_span_length": 5.0}, REPLACES[0], LAYOUTS[0]),
    ({"kind": "t5_spans", "edges": "free", "noise_density": 0.5}, REPLACES[1], LAYOUTS[0]),
    ({"kind": "poisson_spans"}, REPLACES[1], {"kind": "full_reconstruction"}),
    ({"kind": "exactly_k", "rate": 0.4}, REPLACES[2], {"kind": "in_place"}),
    ({"kind": "each_token"}, REPLACES[2], {"kind": "visible_only"}),
    ({"kind": "weighted", "rate": 0.4}, REPLACES[2], {"kind": "in_place"}),
    ({"kind": "permutation_tail"}, SIMILAR, {"kind": "permuted"}),
    ({"kind": "whole_words", "draw": "each"}, REPLACES[5], {"kind": "full_reconstruction", "reorder": True}),
    ({"kind": "ngrams", "rate": 0.4}, REPLACES[2], {"kind": "in_place"}),
    ({"kind": "given_spans"}, REPLACES[0], {"kind": "sentinel_targets"}),
)


@pytest.mark.parametrize(("select", "replace", "layout"), LONG)
def test_kernel_and_reference_agree_on_pieces_of_8192_tokens(select: dict, replace: dict, layout: dict) -> None:
    config = CorruptionConfig.model_validate({"select": select, "replace": replace, "layout": layout})
    made = Corruption(config, SPECIAL, VOCAB_SIZE, 8192, 1, seed=5)
    rng = np.random.default_rng(1)
    text = rng.integers(171, VOCAB_SIZE, 8192)
    assert_same(
        made,
        [
            GivenSample(position, text[:length], np.array([0, length]), random_columns(rng, length))
            for position, length in ((7, 8192), (2**40, 8191))
        ],
    )


def test_a_micro_batch_without_text_is_all_tail() -> None:
    for made in corruptions(WINDOW, MAX_PIECES)[::7]:
        views = assert_same(made, [GivenSample(0, np.zeros(0, np.int64), np.array([0, 0]), random_columns(EMPTY, 0))])
        assert all(view.num_rows == 0 for view in views.values())


def test_every_element_of_the_views_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(num_words: int) -> np.ndarray:
        return np.full(num_words, POISON * (1 + 2**32))

    rng = np.random.default_rng(2)
    monkeypatch.setattr(cpu, "block", poisoned)
    for made in corruptions(WINDOW, MAX_PIECES)[::5]:
        for view in cpu.mask(
            made._plan, gather_pieces([random_sample(rng, WINDOW) for _ in range(3)], COLUMNS)
        ).values():
            for field in dataclasses.fields(view):
                values = getattr(view, field.name)
                poison = POISON * (1 + 2**32) if field.name == "sample_positions" else POISON
                assert values is None or not (values == poison).any(), (made.config, field.name)


def test_micro_batches_that_are_kept_are_not_written_over() -> None:
    made = corruptions(WINDOW, MAX_PIECES)[0]
    rng = np.random.default_rng(3)
    samples = [GivenSample(i, rng.integers(171, VOCAB_SIZE, 64), np.array([0, 64])) for i in range(12)]
    kept = [made.apply([sample]).views["encoder"].tokens for sample in samples]
    assert [tokens.tolist() for tokens in kept] == [
        made.apply([sample]).views["encoder"].tokens.tolist() for sample in samples
    ]
    assert len({tokens.ctypes.data for tokens in kept}) == len(kept)


def test_without_a_compiler_the_reference_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = corruptions(WINDOW, MAX_PIECES)[0]
    pieces = gather_pieces([GivenSample(3, np.arange(200, 260), np.array([0, 20, 60]))])
    fast = masking.mask(made._plan, pieces)
    monkeypatch.setattr(cpu, "library", lambda: None)
    slow = masking.mask(made._plan, pieces)
    assert slow["encoder"].tokens.tolist() == fast["encoder"].tokens.tolist()
