"""Notes of documents that stay: what is read by a note, or by a note on a note, is what was let through."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.documents import Documents, DocumentWriter
from data_prep.errors import CorruptionError
from data_prep.kept import KeptWriter
from data_prep.sources.document import Document

CONTENTS = [Document(f"{n}", f"text {n % 3}", "s", meta={"n": n} if n % 2 else {}) for n in range(40)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "documents.blocks"
    with DocumentWriter(path) as writer:
        for document in CONTENTS:
            writer.add(document)
        writer.close()
    return path


def note(source: Documents, path: Path, stays: Sequence[bool], ahead: int = 1) -> str:
    """Let documents through as `stays` says, by a step that reads `ahead`; the digest of what is left."""
    writer = KeptWriter(path, "digest of the source", source.kept)
    stream = zip(writer.watched(source), stays, strict=False)
    while part := list(itertools.islice(stream, ahead)):
        for document, stay in part:
            if stay:
                writer.add(document)
    return writer.close().digest


PATTERN = st.lists(st.booleans(), min_size=len(CONTENTS), max_size=len(CONTENTS))


@settings(deadline=None, max_examples=40)
@given(PATTERN, PATTERN, st.integers(1, 7))
def test_a_note_and_a_note_on_a_note_read_as_what_they_kept(
    file: Path, first: list[bool], second: list[bool], ahead: int
) -> None:
    notes = [file.with_name(name) for name in ("first.npy", "second.npy")]
    note(Documents(file), notes[0], first, ahead)
    kept = list(itertools.compress(CONTENTS, first))
    assert list(Documents(file, notes[0])) == kept
    note(Documents(file, notes[0]), notes[1], second, ahead)
    assert list(Documents(file, notes[1])) == list(itertools.compress(kept, second))


def test_the_digest_tells_what_was_kept_apart(file: Path, tmp_path: Path) -> None:
    patterns = [[n != gone for n in range(len(CONTENTS))] for gone in range(len(CONTENTS))]
    digests = {note(Documents(file), tmp_path / "note.npy", pattern) for pattern in patterns}
    assert len(digests) == len(patterns)


def test_a_damaged_note_is_refused_by_name(file: Path, tmp_path: Path) -> None:
    note(Documents(file), tmp_path / "note.npy", [True] * len(CONTENTS))
    (tmp_path / "note.npy").write_bytes((tmp_path / "note.npy").read_bytes()[:50])
    with pytest.raises(CorruptionError, match=r"note.npy: damaged"):
        list(Documents(file, tmp_path / "note.npy"))
