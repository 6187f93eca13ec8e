"""Compressed files: read as a stream, whole or named as broken, in bounded memory."""

import contextlib
import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from data_prep.sources import BadDocument, Document

LINES = [f"text {number} " + "wörter " * (number % 50) for number in range(3000)]
JSONL = "".join(json.dumps({"text": line}) + "\n" for line in LINES).encode()
PACK = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor(write_checksum=True).compress}


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_compressed_file_gives_the_same_documents_however_many_members_it_has(
    ending: str, pieces: int, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    path = tmp_path / f"a.jsonl{ending}"
    size = -(-len(JSONL) // pieces)
    path.write_bytes(b"".join(PACK[ending](JSONL[at : at + size]) for at in range(0, len(JSONL), size)))
    assert [document.text for document in read_file(path, "jsonl")] == LINES


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("document", ["file", "line", "paragraph"])
def test_compressed_text_is_read_as_text(
    ending: str, document: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    content = "one\ntwo\n\nthree\n"
    (tmp_path / "a.txt").write_text(content)
    (tmp_path / f"a.txt{ending}").write_bytes(PACK[ending](content.encode()))
    plain = read_file(tmp_path / "a.txt", "text", document=document)
    packed = read_file(tmp_path / f"a.txt{ending}", "text", document=document)
    assert [found.text for found in packed] == [found.text for found in plain]


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("damage", ["cut", "last byte", "flip", "not compressed", "tail"])
def test_a_damaged_compressed_file_keeps_what_comes_before_and_is_named(
    damage: str, ending: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    data = PACK[ending](JSONL)
    middle = len(data) // 2
    damaged = {
        "cut": data[:middle],
        "last byte": data[:-1],
        "flip": data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 8]) + data[middle + 8 :],
        "not compressed": JSONL,
        "tail": data + b"tail",
    }[damage]
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(damaged)
    *documents, last = read_file(path, "jsonl")
    assert isinstance(last, BadDocument)
    assert last.reason == "broken_file"
    assert last.describe().startswith(f"{path}: damaged or cut short (")
    assert [document.text for document in documents if isinstance(document, Document)] == LINES[: len(documents)]


def test_a_bad_line_of_a_compressed_file_is_named_by_its_number(tmp_path: Path, read_file: Callable[..., Any]) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "x"}\n\n{"body": 1}\n'))
    _, bad = read_file(path, "jsonl")
    assert bad.describe().startswith(f"{path}: line 3: no field 'text'")


@pytest.mark.parametrize("source", ["jsonl", "text"])
def test_a_line_that_is_too_long_is_passed_over_and_named(
    source: str, tmp_path: Path, read_file: Callable[..., Any]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n{"text": "' + b"x" * 5000 + b'"}\n{"text": "two"}\n')
    for bounds in ([], [100], [3000], [17, 5020]):
        first, long, last = read_file(path, source, bounds, document="line", max_document_bytes=1024)
        assert (first.id, last.id) == ("a.jsonl:0", "a.jsonl:5029")
        assert (long.reason, long.offset) == ("too_long", 16)
        assert long.describe().startswith(f"{path}:2: the document has 5,013 bytes; at most 1,024 are taken")


@contextlib.contextmanager
def opened_to_write(path: Path) -> Iterator[Any]:
    """The file, which compresses as its name says."""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(open(path, "wb"))
        if path.suffix == ".gz":
            yield stack.enter_context(gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1))
        elif path.suffix == ".zst":
            yield stack.enter_context(zstandard.ZstdCompressor().stream_writer(raw))
        else:
            yield raw


BOMB = """
import sys, resource
from data_prep.sources.config import SourceConfig
from data_prep.sources import InputFile, InputSplit, read
from pathlib import Path
path = Path(sys.argv[1])
status = path.stat()
file = InputFile(str(path), path.name, sys.argv[2], status.st_size, str(status.st_mtime_ns))
config = SourceConfig.model_validate({"document": "line", "max_document_bytes": 2**20})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print([found.reason for found in read(InputSplit(file, 0, file.size), config)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("name", "source", "megabytes"),
    [
        ("a.jsonl.zst", "jsonl", 512), ("a.txt.gz", "text", 256),
        pytest.param("a.jsonl", "jsonl", 1024, marks=pytest.mark.long),
        pytest.param("a.txt", "text", 1024, marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_a_line_of_hundreds_of_megabytes_needs_little_memory(
    name: str, source: str, megabytes: int, tmp_path: Path
) -> None:
    path, block = tmp_path / name, bytes(b"x" * 2**20)
    with opened_to_write(path) as file:
        for _ in range(megabytes):
            file.write(block)
    done = subprocess.run([sys.executable, "-c", BOMB, path, source], capture_output=True, text=True, check=True)
    reasons, kilobytes = done.stdout.splitlines()
    assert reasons == "['too_long']"
    assert int(kilobytes) < 120_000  # pyarrow itself is 50 MB of it
