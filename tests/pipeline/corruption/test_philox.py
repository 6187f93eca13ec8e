"""Philox4x32-10 against the vectors published with Random123 (kat_vectors)."""

import hashlib

import numpy as np
import pytest

from pipeline.corruption.philox import Key, philox4x32, random_bits, stream_key

PUBLISHED = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_the_published_vectors_come_out(counter: str, key: str, expected: str) -> None:
    block = philox4x32(np.array(words(counter), np.uint32), Key(*words(key)))
    assert block.dtype == np.uint32
    assert block.tolist() == words(expected)


def test_many_counters_at_once_give_what_each_gives_alone() -> None:
    counters = np.random.default_rng(0).integers(0, 2**32, (5, 7, 4), dtype=np.uint32)
    together = philox4x32(counters, Key(1, 2))
    alone = [[philox4x32(counter, Key(1, 2)).tolist() for counter in row] for row in counters]
    assert together.tolist() == alone


def test_a_draw_is_a_word_of_the_block_its_counter_names() -> None:
    key = stream_key(0, "dropout/encoder")
    position, row = 2**40 + 3, 17
    blocks = [philox4x32(np.array([row, block, 3, 2**8], np.uint32), key).tolist() for block in range(3)]
    assert random_bits(key, position, row, np.arange(12)).tolist() == [word for block in blocks for word in block]


def test_bits_are_broadcast_over_positions_rows_and_draws() -> None:
    key = Key(5, 6)
    bits = random_bits(key, np.arange(3)[:, None, None], np.arange(4)[:, None], np.arange(5))
    assert bits.shape == (3, 4, 5)
    assert bits[2, 1, 4] == random_bits(key, 2, 1, 4)


def test_the_key_of_a_stream_is_the_start_of_its_digest() -> None:
    digest = hashlib.sha256(b"7/corruption").digest()
    assert stream_key(7, "corruption") == tuple(np.frombuffer(digest[:8], "<u4").tolist())
    assert stream_key(7, "corruption") != stream_key(8, "corruption")
    assert stream_key(7, "corruption") != stream_key(7, "heldout")
