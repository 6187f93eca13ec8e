"""Layouts and rules that go together, and the ones that are refused with what to do instead."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import InputError
from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample

SPECIAL, VOCAB_SIZE = SpecialTokens(), 400
MASKS = {"kind": "token_by_token", "mask": 1.0, "random": 0.0}
DUPMAE = {
    "select": {"kind": "exactly_k", "rate": 0.3},
    "replace": MASKS,
    "layout": {"kind": "in_place"},
    "second_draw": {"select": {"kind": "exactly_k", "rate": 0.5}},
}


def corruption(config: dict, window: int = 64, max_pieces: int = 2) -> Corruption:
    return Corruption(CorruptionConfig.model_validate(config), SPECIAL, VOCAB_SIZE, window, max_pieces, seed=3)


def sample(position: int, length: int, **columns: np.ndarray) -> GivenSample:
    return GivenSample(position, 200 + np.arange(length), np.array([0, length]), columns)


def test_two_draws_show_one_text_with_independent_masks() -> None:
    views = corruption(DUPMAE).apply([sample(i, 60) for i in range(500)]).views
    hidden = [views[name].labels != IGNORED_LABEL for name in ("encoder", "decoder")]
    assert [int(each.sum()) for each in hidden] == [500 * 18, 500 * 30]
    both = (hidden[0] & hidden[1]).sum() / (500 * 60)
    assert abs(both - 0.15) < 0.005
    texts = [np.where(each, views[name].labels, views[name].tokens) for each, name in zip(hidden, views, strict=True)]
    assert texts[0].tolist() == texts[1].tolist()


def test_reordered_sentences_are_whole_and_the_targets_keep_the_original_order() -> None:
    config = {
        "select": {"kind": "each_token", "rate": 0.0},
        "replace": {"kind": "mask_per_span"},
        "layout": {"kind": "full_reconstruction", "reorder": True},
    }
    sents = np.array([1, 0, 0, 1, 0, 1, 0, 0, 0, 1], np.uint8)
    orders = set()
    for position in range(300):
        views = corruption(config).apply([sample(position, 10, sents=sents)]).views
        assert views["decoder"].labels[views["decoder"].sequence(0)].tolist() == [*range(200, 210), SPECIAL.eos]
        text = views["encoder"].tokens[views["encoder"].sequence(0)].tolist()
        assert text.pop() == SPECIAL.eos
        assert sorted(text) == list(range(200, 210))
        sentences = [text.index(first) for first in (200, 203, 205, 209)]
        assert text[sentences[0] : sentences[0] + 3] == [200, 201, 202]
        assert text[sentences[2] : sentences[2] + 4] == [205, 206, 207, 208]
        orders.add(tuple(np.argsort(sentences).tolist()))
    assert len(orders) == 24


def test_the_permuted_layout_predicts_its_tail_and_every_token_keeps_its_position() -> None:
    config = {"select": {"kind": "permutation_tail", "rate": 0.3}, "replace": MASKS, "layout": {"kind": "permuted"}}
    view = corruption(config).apply([sample(4, 10)]).views["encoder"]
    rows = view.sequence(0)
    tokens, labels, positions = view.tokens[rows], view.labels[rows], view.positions[rows]
    assert sorted(positions.tolist()) == list(range(10))
    assert tokens[:7].tolist() == (200 + positions[:7]).tolist()
    assert tokens[7:].tolist() == [SPECIAL.mask] * 3
    assert labels.tolist() == [IGNORED_LABEL] * 7 + (200 + positions[7:]).tolist()


def test_similar_tokens_come_uniformly_from_the_row_of_the_token(tmp_path: Path) -> None:
    table = np.stack([np.arange(VOCAB_SIZE), (np.arange(VOCAB_SIZE) * 7 + 1) % VOCAB_SIZE], axis=1).astype(np.int32)
    np.save(tmp_path / "similar.npy", table)
    replace = {
        "kind": "token_by_token",
        "mask": 0.0,
        "random": 0.0,
        "similar": 0.75,
        "table": str(tmp_path / "similar.npy"),
    }
    config = {
        "select": {"kind": "each_token", "rate": 1.0},
        "replace": replace,
        "layout": {"kind": "in_place", "ends": False},
    }
    view = corruption(config).apply([sample(i, 50) for i in range(400)]).views["encoder"]
    tokens, labels = view.tokens[: view.num_rows], view.labels[: view.num_rows]
    other = tokens != labels
    assert tokens[other].tolist() == table[labels[other], 1].tolist()
    assert abs(other.mean() - 0.375) < 5 * (0.24 / len(tokens)) ** 0.5


def test_another_table_under_the_same_name_is_another_stream_for_a_run_that_resumes(tmp_path: Path) -> None:
    path = tmp_path / "similar.npy"
    replace = {"kind": "token_by_token", "mask": 0.5, "random": 0.0, "similar": 0.5, "table": str(path)}
    config = {"select": {"kind": "each_token", "rate": 0.5}, "replace": replace, "layout": {"kind": "in_place"}}
    found = []
    for shape, token in (
        ((VOCAB_SIZE, 2), 300),
        ((VOCAB_SIZE, 2), 301),
        ((VOCAB_SIZE, 1), 300),
        ((VOCAB_SIZE, 2), 300),
    ):
        np.save(path, np.full(shape, token, np.int32))
        found.append(corruption(config).tables)
    assert len({tuple(tables) for tables in found}) == 3
    assert found[0] == found[3]
    assert corruption({**config, "replace": MASKS}).tables == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((VOCAB_SIZE, 2), np.int64), "it must be int32 of"),
        (np.zeros((VOCAB_SIZE - 1, 2), np.int32), "it must be int32 of"),
        (np.full((VOCAB_SIZE, 2), VOCAB_SIZE, np.int32), "token ids outside 0 to 399"),
        (np.array([{}] * VOCAB_SIZE, object), "not an .npy file of numbers"),
        (None, "cannot read"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, content: np.ndarray | None, message: str) -> None:
    path = tmp_path / "similar.npy"
    if content is not None:
        np.save(path, content, allow_pickle=content.dtype == object)
    replace = {"kind": "token_by_token", "random": 0.0, "similar": 0.2, "table": str(path)}
    with pytest.raises(InputError, match=message):
        corruption({"replace": replace, "layout": {"kind": "in_place"}})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layout": {"kind": "in_place"}}, "needs a token for each selected one.*Use replace token_by_token"),
        (
            {"replace": MASKS, "layout": {"kind": "permuted"}},
            "select t5_spans does not draw. Use select permutation_tail",
        ),
        ({"second_draw": DUPMAE["second_draw"]}, "layout sentinel_targets does not. Use layout in_place"),
        ({"replace": {"kind": "token_by_token", "similar": 0.1}}, "similar is 0.1 and table is None"),
        ({"replace": {"kind": "token_by_token", "random": 0.3}}, "mask 0.8 and random 0.3 add up to more than 1"),
        ({"select": {"kind": "given_spans", "max_spans": 101}}, "can have 101 spans, but the tokenizer has 100"),
        (
            {
                **DUPMAE,
                "select": {"kind": "given_spans", "kinds": ["comment"]},
                "second_draw": {"select": {"kind": "given_spans"}},
            },
            "ask for spans of different kinds",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(config: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        corruption(config, window=512)


def test_a_corruption_says_which_columns_it_reads() -> None:
    config = {
        "select": {"kind": "ngrams"},
        "replace": {"kind": "mask_per_span"},
        "layout": {"kind": "full_reconstruction", "reorder": True},
    }
    assert [wanted.name for wanted in CorruptionConfig.model_validate(config).columns] == ["words", "sents"]
    assert CorruptionConfig().columns == ()


UNITS = [
    {"kind": "whole_words", "rate": 0.3},
    {"kind": "whole_words", "draw": "each", "rate": 0.9},
    {"kind": "whole_words", "draw": "units", "rate": 1.0},
    {"kind": "ngrams", "rate": 0.4},
    {"kind": "given_spans", "rate": 1.0, "max_spans": 5},
    {"kind": "weighted", "rate": 0.4},
]


@pytest.mark.parametrize("select", UNITS, ids=lambda select: f"{select['kind']}-{select['rate']}")
@pytest.mark.parametrize("replace", ["sentinel_per_span", "mask_per_span", "token_by_token", "dropped"])
def test_no_marks_whatever_give_more_rows_than_the_bound(select: dict, replace: str) -> None:
    rng = np.random.default_rng(0)
    for layout in ("sentinel_targets", "full_reconstruction"):
        made = corruption({"select": select, "replace": {"kind": replace}, "layout": {"kind": layout}}, window=40)
        for share in (0.0, 0.1, 0.5, 1.0):
            marks = {name: (rng.random(40) < share).astype(np.uint8) for name in ("words", "spans", "weight")}
            samples = [sample(i, 40, **marks) for i in range(20)]
            for name, view in made.apply(samples).views.items():
                assert np.bincount(view.sample_positions[: view.num_rows]).max() <= made.max_rows[name]
