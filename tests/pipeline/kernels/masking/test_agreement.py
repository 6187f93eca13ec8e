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
SELECTS = (
    {"kind": "t5_spans"},
    {"kind": "t5_spans", "edges": "free", "noise_density": 0.5, "mean_span_length": 2.5},
    {"kind": "t5_spans", "noise_density": 0.99},
    *({"kind": kind, "rate": rate} for kind in ("each_token", "exactly_k") for rate in (0.0, 0.15, 0.6, 1.0)),
    *({"kind": "poisson_spans", "noise_density": density} for density in (0.0, 0.3, 1.0)),
    {"kind": "poisson_spans", "noise_density": 0.2, "mean_span_length": 0.5},
    *({"kind": "geometric_spans", "noise_density": density} for density in (0.15, 0.9, 1.0)),
    {"kind": "suffix"},
)
REPLACES = (
    {"kind": "sentinel_per_span"},
    {"kind": "mask_per_span"},
    {"kind": "token_by_token"},
    {"kind": "token_by_token", "mask": 1.0, "random": 0.0},
    {"kind": "token_by_token", "mask": 0.0, "random": 1.0},
    {"kind": "dropped"},
)
LAYOUTS = (
    {"kind": "sentinel_targets"},
    {"kind": "full_reconstruction"},
    {"kind": "in_place"},
    {"kind": "in_place", "ends": False},
    {"kind": "visible_only"},
)


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
    return GivenSample(int(rng.integers(0, 2**62)), rng.integers(0, top, offsets[-1]), offsets)


def assert_same(made: Corruption, samples: list[GivenSample]) -> Views:
    pieces = gather_pieces(samples)
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


def compare(samples_each: int) -> int:
    """Compare every combination on so many samples; returns the number of pieces compared."""
    rng, count = np.random.default_rng(0), 0
    for made in corruptions(WINDOW, MAX_PIECES):
        samples = [random_sample(rng, WINDOW) for _ in range(samples_each)]
        assert_same(made, samples)
        count += sum(len(sample.piece_offsets) - 1 for sample in samples)
    return count


def test_kernel_and_reference_agree_on_20_000_pieces_of_every_combination() -> None:
    assert len(corruptions(WINDOW, MAX_PIECES)) > 200
    assert compare(16) > 20_000


@pytest.mark.long
def test_kernel_and_reference_agree_on_500_000_pieces() -> None:
    assert compare(350) > 500_000


LONG = (
    ({"kind": "t5_spans", "noise_density": 0.05, "mean_span_length": 5.0}, REPLACES[0], LAYOUTS[0]),
    ({"kind": "t5_spans", "edges": "free", "noise_density": 0.5}, REPLACES[1], LAYOUTS[0]),
    ({"kind": "poisson_spans"}, REPLACES[1], LAYOUTS[1]),
    ({"kind": "exactly_k", "rate": 0.4}, REPLACES[2], LAYOUTS[2]),
    ({"kind": "each_token"}, REPLACES[2], LAYOUTS[4]),
)


@pytest.mark.parametrize(("select", "replace", "layout"), LONG)
def test_kernel_and_reference_agree_on_pieces_of_8192_tokens(select: dict, replace: dict, layout: dict) -> None:
    config = CorruptionConfig.model_validate({"select": select, "replace": replace, "layout": layout})
    made = Corruption(config, SPECIAL, VOCAB_SIZE, 8192, 1, seed=5)
    text = np.random.default_rng(1).integers(171, VOCAB_SIZE, 8192)
    samples = [GivenSample(7, text, np.array([0, 8192])), GivenSample(2**40, text[:8191], np.array([0, 8191]))]
    assert_same(made, samples)


def test_a_micro_batch_without_text_is_all_tail() -> None:
    for made in corruptions(WINDOW, MAX_PIECES)[::7]:
        views = assert_same(made, [GivenSample(0, np.zeros(0, np.int64), np.array([0, 0]))])
        assert all(view.num_rows == 0 for view in views.values())


def test_every_element_of_the_views_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(num_words: int) -> np.ndarray:
        return np.full(num_words, POISON * (1 + 2**32))

    rng = np.random.default_rng(2)
    monkeypatch.setattr(cpu, "_block", poisoned)
    for made in corruptions(WINDOW, MAX_PIECES)[::5]:
        for view in cpu.mask(made._plan, gather_pieces([random_sample(rng, WINDOW) for _ in range(3)])).values():
            for field in dataclasses.fields(view):
                values = getattr(view, field.name)
                poison = POISON if field.name == "cu_seqlens" else POISON * (1 + 2**32)
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
