"""Corruption is never loaded: damage of any kind to any file is refused by name, and an older checkpoint is taken."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_prep.errors import CorruptionError
from pipeline.checkpoint.load import newest_valid
from pipeline.checkpoint.places import open_store
from pipeline.checkpoint.resume import agree_on_checkpoint
from pipeline.checkpoint.verify import audit_checkpoint, verify_checkpoint

from .conftest import RANK, record, write
from .test_checkpoint import FILES

FLIPS, TRUNCATIONS, ZEROED_PAGES = 1000, 300, 100
PAGE_BYTES = 4096


def flips(data: bytes, draw: random.Random, number: int) -> Iterator[bytes]:
    for _ in range(number):
        place = draw.randrange(len(data))
        yield data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def truncations(data: bytes, draw: random.Random, number: int) -> Iterator[bytes]:
    return (data[: draw.randrange(len(data))] for _ in range(number))


def zeroed_pages(data: bytes, draw: random.Random, number: int) -> Iterator[bytes]:
    """Zeros where a page was (a file shorter than a page has one anywhere)."""
    length = min(PAGE_BYTES, len(data) // 2)
    for _ in range(number):
        start = draw.randrange(len(data) - length + 1)
        yield data[:start] + bytes(length) + data[start + length :]


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits_truncations_and_zeroed_pages_are_refused_by_name(save: Callable[..., Path], name: str) -> None:
    save(4)
    folder, draw = save(5), random.Random(name)
    data = (folder / name).read_bytes()
    damaged = [
        *flips(data, draw, FLIPS),
        *truncations(data, draw, TRUNCATIONS),
        *zeroed_pages(data, draw, ZEROED_PAGES),
        data + b"\0", bytes(len(data)), b"",
    ]  # fmt: skip
    for content in damaged:
        assert content != data
        (folder / name).write_bytes(content)
        with pytest.raises(CorruptionError, match=f"/{name}: "):
            verify_checkpoint(folder)
    found = newest_valid(folder.parent)
    assert found.record == record(4)
    assert [str(problem_at) for problem_at, _ in found.problems] == [str(folder)]
    assert audit_checkpoint(folder)[0] == found.problems[0][1]
    assert f"/{name}: " in found.problems[0][1]


def put_elsewhere(folder: Path, other: Path, name: str) -> None:
    (folder / name).rename(folder.parent / "elsewhere")


def add_extra(folder: Path, other: Path, name: str) -> None:
    shutil.copy(folder / name, folder / f"extra-{name}")


def take_anothers(folder: Path, other: Path, name: str) -> None:
    assert (folder / name).read_bytes() != (other / name).read_bytes()
    shutil.copy(other / name, folder / name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [put_elsewhere, add_extra, take_anothers])
def test_missing_and_extra_files_and_those_of_another_step_or_run_are_refused_and_the_older_one_continues(
    save: Callable[..., Path], tmp_path: Path, name: str, damage: Callable[[Path, Path, str], None]
) -> None:
    older, folder = save(5), save(6)
    other_run = write(open_store(tmp_path / "other"), 7)
    for other in (older, other_run):
        damage(folder, other, name)
        said: list[str] = []
        found = agree_on_checkpoint(open_store(folder.parent), RANK, said.append)
        assert found is not None
        assert found[1] == record(5)
        assert len(said) == 1
        assert said[0].startswith("checkpoint skipped: ")
        # Under another's manifest it is the files that are not what it says.
        assert name in said[0] or (damage is take_anothers and name == "manifest.json")
        shutil.rmtree(folder.parent)
        older, folder = save(5), save(6)


def test_the_generators_of_another_rank_are_refused(save: Callable[..., Path]) -> None:
    folder = save(5)
    (folder / "rng-00000.json").rename(folder / "rng-00001.json")
    assert len(audit_checkpoint(folder)) == 2
    with pytest.raises(CorruptionError, match=r"rng-00001\.json: not part of the checkpoint"):
        verify_checkpoint(folder)


def test_there_is_no_pointer_to_damage(save: Callable[..., Path]) -> None:
    """The newest checkpoint is found by name; files called as others call their pointers mean nothing."""
    folder = save(5)
    for name, content in (("latest", b""), ("latest", b"step-99999999"), ("checkpoint.json", b"\0" * 100)):
        (folder.parent / name).write_bytes(content)
        assert newest_valid(folder.parent).record == record(5)
