"""HTML: a document is a page: a file, or a file of a tar archive, which is read as a stream and never unpacked."""

import tarfile
from collections.abc import Iterator
from typing import Any

from data_prep.sources.config import SourceConfig
from data_prep.sources.document import BadDocument, Document, InputSplit, Place
from data_prep.sources.kinds import EXTENSIONS, TAR
from data_prep.sources.page import page_document
from data_prep.sources.streams import BrokenFileError, CountedStream, decompressed

_PAGES = tuple(extension for extension in EXTENSIONS["html"] if extension not in TAR)


def read(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The page, or the pages of an archive in their order. The id is the file's name, or `archive/name`."""
    if split.path.lower().endswith(TAR):
        yield from _archived(split, config)
        return
    place = Place(split.file, 0, config.max_document_bytes)
    with decompressed(split.file) as file:
        yield page_document(file.read(place.limit + 1), place, split.name, config)


def _archived(split: InputSplit, config: SourceConfig) -> Iterator[Document | BadDocument]:
    with decompressed(split.file) as file:
        stream: Any = CountedStream(file)
        try:
            with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="replace") as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # else it remembers every one
                    if member.name.lower().endswith(_PAGES) and not member.isdir():
                        yield _page(archive, member, split, config)
        except (tarfile.TarError, EOFError) as error:
            stream.check(0, "the archive")  # an error of the stream comes first
            raise BrokenFileError(f"not a tar archive, or cut short ({error})") from error
        stream.check(archive.offset + tarfile.BLOCKSIZE, "the archive")  # tarfile does not miss the end mark


def _page(
    archive: tarfile.TarFile, member: tarfile.TarInfo, split: InputSplit, config: SourceConfig
) -> Document | BadDocument:
    place = Place(split.file, member.offset, config.max_document_bytes, member.name)
    if not member.isreg():
        return place.bad("not_a_file", "a link or a device in an archive, which is not followed")
    if member.size > place.limit:
        return place.too_long(member.size)
    content = archive.extractfile(member)
    assert content is not None  # a regular file has one
    return page_document(content.read(), place, f"{split.name}/{member.name}", config)
