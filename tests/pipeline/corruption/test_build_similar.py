"""Tokens that stand beside the same tokens are similar, whatever their frequency; the table repeats to the last id."""

import numpy as np
import pytest

from data_prep.errors import InputError
from pipeline.corruption.build_similar import build_similar, count_neighbours, nearest_ids
from pipeline.corruption.similar import load_similar

ANIMALS, DAYS, VERB, DAY_VERB, RARE = (10, 11, 12, 13), (14, 15, 16, 17), 18, 19, 20
VOCAB, ORDINARY = 24, np.arange(10, 24)


class _Split:
    """A split of one chunk: two kinds of sentences, each word of a kind used alike."""

    num_chunks = 1

    def chunk(self, number: int) -> "_Split":
        draws = np.random.default_rng(number)
        sentences = [(draws.choice(ANIMALS), VERB, draws.choice(ANIMALS), 21) for _ in range(300)]
        sentences += [(22, draws.choice(DAYS), DAY_VERB, 23) for _ in range(100)]
        draws.shuffle(sentences)
        self.tokens = np.array([*np.concatenate(sentences), RARE], np.uint16)
        return self


def test_words_used_alike_are_each_others_nearest() -> None:
    table = build_similar(_Split(), ORDINARY, VOCAB, num_similar=3)  # type: ignore[arg-type]
    assert table.shape == (VOCAB, 3)
    assert table.dtype == np.int32
    for group in (ANIMALS, DAYS):
        for token in group:
            assert set(table[token].tolist()) == set(group) - {token}
    assert np.array_equal(table, build_similar(_Split(), ORDINARY, VOCAB, num_similar=3))  # type: ignore[arg-type]


def test_a_rare_token_gets_ordinary_ones_with_near_ids_and_a_special_one_itself() -> None:
    table = build_similar(_Split(), ORDINARY, VOCAB, num_similar=3)  # type: ignore[arg-type]
    assert table[RARE].tolist() == [19, 21, 22]
    assert (table[:10] == np.arange(10)[:, None]).all()
    assert np.isin(table[10:], ORDINARY).all()
    assert np.array_equal(nearest_ids(ORDINARY, VOCAB, 13)[10], np.arange(11, 24))


def test_neighbours_are_counted_on_each_side() -> None:
    counts, pairs = count_neighbours([np.array([10, 11, 10, 11])], ORDINARY, VOCAB, frequent=2)
    assert counts[[10, 11]].tolist() == [2, 2]
    assert pairs[10].tolist() == [0, 1, 0, 2]  # once after 11; twice before 11
    assert pairs[11].tolist() == [2, 0, 1, 0]


def test_a_table_that_is_not_there_names_the_command_that_makes_it() -> None:
    with pytest.raises(InputError, match="spanwright similar CONFIG"):
        load_similar("/nowhere/similar.npy", VOCAB)
