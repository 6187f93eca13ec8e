"""Files of blocks: what was written comes back, what was changed does not, and the digest tells files apart."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from data_prep.blocks import BlockWriter, blocks_digest, damage_named, read_blocks
from data_prep.errors import CorruptionError

CONTENT = [[b"first", b""], [b"second" * 3], [b"second" * 3], [bytes(range(40)), b"x", b"third"]]
DAMAGED = r"a\.blocks: damaged .*run the same command again"


def write(path: Path, content: Sequence[Sequence[bytes]]) -> str:
    writer = BlockWriter(path)
    for parts in content:
        writer.add(parts)
    return writer.close()


def read(path: Path) -> list[list[bytes]]:
    with damage_named(path), open(path, "rb") as file:
        return [[block.read(file, n) for n in range(len(block.parts))] for block in read_blocks(file) if block.parts]


def test_blocks_come_back_in_order_and_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    digests = {write(tmp_path / "a.blocks", CONTENT[:count]) for count in range(5)}
    assert len(digests) == 5
    assert read(tmp_path / "a.blocks") == CONTENT
    assert blocks_digest(tmp_path / "a.blocks") == write(tmp_path / "b.blocks", CONTENT)
    assert write(tmp_path / "b.blocks", CONTENT[::-1]) not in digests


def test_what_is_given_up_leaves_nothing_and_what_was_closed_stays(tmp_path: Path) -> None:
    given_up, closed = BlockWriter(tmp_path / "a.blocks"), BlockWriter(tmp_path / "b.blocks")
    given_up.add([b"first"])
    given_up.abort()
    closed.close()
    closed.abort()
    assert [path.name for path in tmp_path.iterdir()] == ["b.blocks"]


def test_parts_are_read_in_any_order_and_the_last_block_is_still_found(tmp_path: Path) -> None:
    write(tmp_path / "a.blocks", CONTENT)
    with open(tmp_path / "a.blocks", "rb") as file:
        assert [block.read(file, len(block.parts) - 1) for block in read_blocks(file) if block.parts] == [
            parts[-1] for parts in CONTENT
        ]


def test_no_truncation_no_flipped_bit_and_no_addition_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.blocks"
    write(path, CONTENT)
    data = path.read_bytes()
    damaged = [data[:length] for length in range(len(data))] + [data + b"\0"]
    damaged += [data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :] for place in range(len(data))]
    for wrong in damaged:
        path.write_bytes(wrong)
        for look in (read, blocks_digest):
            with pytest.raises(CorruptionError, match=DAMAGED):
                look(path)


def test_a_block_left_out_or_taken_twice_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.blocks"
    write(path, CONTENT)
    data = path.read_bytes()
    with open(path, "rb") as file:
        heads = [block.parts[0][0] - len(block.head) for block in read_blocks(file) if block.parts]
    without_second = data[: heads[1]] + data[heads[2] :]
    twice = data[: heads[2]] + data[heads[1] :]
    for wrong in (without_second, twice):
        path.write_bytes(wrong)
        with pytest.raises(CorruptionError, match=DAMAGED):
            read(path)
