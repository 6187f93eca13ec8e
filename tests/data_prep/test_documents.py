"""The files of documents between passes: everything comes back, and damage is noticed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.blocks import read_blocks
from data_prep.documents import DocumentWriter, StoredDocuments, read_documents
from data_prep.errors import CorruptionError
from data_prep.sources.document import Document

texts = st.text(st.characters(codec="utf-8"))
documents = st.builds(
    Document,
    id=texts,
    text=texts,
    source=texts,
    lang=st.none() | st.sampled_from(["de", "en"]),
    pair=st.none() | texts,
    meta=st.dictionaries(texts, st.none() | st.integers() | texts | st.lists(st.booleans()), max_size=3),
)


def write(path: Path, contents: list[Document]) -> StoredDocuments:
    with DocumentWriter(path) as writer:
        for document in contents:
            writer.add(document)
        return writer.close()


@given(contents=st.lists(documents, max_size=12))
def test_documents_come_back_as_they_were_in_order(contents: list[Document], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("documents") / "documents.blocks"
    stored = write(path, contents)
    assert list(read_documents(path)) == contents
    assert list(read_documents(path, lazy=True)) == contents
    assert stored.documents == len(contents)
    assert stored.text_bytes == sum(len(document.text.encode()) for document in contents)


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    contents = [Document(str(number), f"text {number} " * 999, "a.txt") for number in range(300)]
    stored = write(tmp_path / "a.blocks", contents)
    assert write(tmp_path / "b.blocks", contents) == stored
    assert write(tmp_path / "c.blocks", contents[:-1]).digest != stored.digest
    assert write(tmp_path / "d.blocks", contents[::-1]).digest != stored.digest


def test_no_truncation_and_no_changed_byte_passes(tmp_path: Path) -> None:
    path = tmp_path / "documents.blocks"
    contents = [Document(str(n), f"text {n} é " * 5, "a") for n in range(20)]
    write(path, contents)
    data = path.read_bytes()
    for length in range(0, len(data), 37):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptionError, match=r"documents\.blocks: damaged .*run the same command again"):
            list(read_documents(path))
    for place in range(0, len(data), 41):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        for lazy in (False, True):
            with pytest.raises(CorruptionError, match=r"documents\.blocks: damaged .*run the same command again"):
                assert [document.text for document in read_documents(path, lazy=lazy)]


def test_what_a_lazy_reader_is_not_asked_for_it_does_not_read(tmp_path: Path) -> None:
    path = tmp_path / "documents.blocks"
    contents = [Document(str(n), f"{n} b" * 99, "a", pair="p" if n % 2 else None) for n in range(2000)]
    write(path, contents)
    data = bytearray(path.read_bytes())
    with open(path, "rb") as file:
        *_, block, _ = read_blocks(file)
    begin, size, _ = block.parts[-1]
    data[begin + size - 1] ^= 1  # the last of the texts
    path.write_bytes(data)
    known = [(d.num_bytes, d.num_chars, d.sha256, d.pair) for d in read_documents(path, lazy=True)]
    assert known == [(d.num_bytes, d.num_chars, d.sha256, d.pair) for d in contents]
    with pytest.raises(CorruptionError, match=r"documents\.blocks: damaged"):
        assert list(read_documents(path, lazy=True))[-1].text


def test_an_unfinished_file_leaves_nothing(tmp_path: Path) -> None:
    unencodable = Document("2", "\ud800", "a")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "documents.blocks", [Document("1", "text", "a"), unencodable])
    assert list(tmp_path.iterdir()) == []
