"""What a file's name says, and where a large file is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.sources import InputFile
from data_prep.sources.config import SourceConfig
from data_prep.sources.kinds import kind_of, ranges

NAMES = [
    ("a.txt", "text"),
    ("a/b.MD.GZ", "text"),
    ("a.b.jsonl.zst", "jsonl"),
    ("a.parquet", "parquet"),
    ("data-00000-of-00001.arrow", "dataset"),
    ("de.d/index.de.html", "html"),
    ("pages.tar.gz", "html"),
    ("pages.tgz", "html"),
    ("CC-MAIN-1.warc.gz", "warc"),
    ("CC-MAIN-1.warc.wet.gz", "warc"),
    ("a.py", "code"),
    ("a.py.gz", None),
    ("a.gz", None),
    ("txt", None),
    ("a.txt/b", None),
]


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_the_end_of_a_name_says_the_kind(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


def file(name: str, kind: str, size: int) -> InputFile:
    return InputFile(f"/x/{name}", name, kind, size, "1")  # type: ignore[arg-type]


@given(size=st.integers(0, 10**12), split_bytes=st.integers(4096, 2**30))
def test_ranges_cover_a_file_without_gaps_and_none_is_larger_than_asked(size: int, split_bytes: int) -> None:
    split_bytes = max(split_bytes, size // 1000)
    found = ranges(file("a.jsonl", "jsonl", size), SourceConfig(), split_bytes)
    assert (found[0][0], found[-1][1]) == (0, size)
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(found))
    assert max(stop - start for start, stop in found) <= max(split_bytes, 1)


CUTTABLE = [
    ("a.jsonl", "jsonl", {}, True),
    ("a.parquet", "parquet", {}, True),
    ("a.txt", "text", {"document": "line"}, True),
    ("a.txt", "text", {"document": "paragraph"}, True),
    ("a.txt", "text", {"document": "file"}, False),
    ("a.jsonl.gz", "jsonl", {}, False),
    ("a.txt.zst", "text", {"document": "line"}, False),
    ("a.arrow", "dataset", {}, False),
    ("a.warc", "warc", {}, False),
    ("a.tar", "html", {}, False),
    ("x.*.txt", "parallel", {"document": "line"}, False),
]


@pytest.mark.parametrize(("name", "kind", "config", "cut"), CUTTABLE)
def test_only_what_can_be_read_in_parts_is_cut(name: str, kind: str, config: dict, cut: bool) -> None:
    found = ranges(file(name, kind, 10**8), SourceConfig.model_validate(config), 10**6)
    assert len(found) == (100 if cut else 1)
