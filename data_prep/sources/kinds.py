"""Which kinds of files there are, how they are told by their names, and which can be read in parts.

A `.jsonl` or a text that is not compressed is read by byte range, parquet by row group (a row group belongs to the
range in which its first byte lies). A compressed file, an arrow file, a page, an archive of pages or of a crawl is one
task's: their parts cannot be found without reading all before them.
"""

import itertools

from data_prep.sources.config import SourceConfig, SourceKind
from data_prep.sources.document import InputFile
from data_prep.sources.streams import COMPRESSION, compression

PYTHON = (".py", ".pyi")
TAR = (".tar", ".tar.gz", ".tgz")


def _also_compressed(*extensions: str) -> tuple[str, ...]:
    return (*extensions, *(extension + ending for ending in COMPRESSION for extension in extensions))


EXTENSIONS: dict[SourceKind, tuple[str, ...]] = {
    "text": _also_compressed(".txt", ".text", ".md", ".markdown", ".rst"),
    "jsonl": _also_compressed(".jsonl", ".ndjson"),
    "parquet": (".parquet",),
    "dataset": (".arrow",),
    "html": (".html", ".htm", ".xhtml", *TAR),
    "warc": (".warc", ".warc.gz", ".wet.gz", ".wet"),
    "code": (
        *PYTHON,
        *(".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".cu", ".m", ".swift", ".rs", ".go", ".zig", ".d"),
        *(".java", ".kt", ".scala", ".cs", ".fs", ".js", ".jsx", ".mjs", ".ts", ".tsx", ".dart", ".vue"),
        *(".rb", ".php", ".pl", ".pm", ".lua", ".r", ".jl", ".sh", ".bash", ".sql", ".tcl", ".ex", ".exs", ".erl"),
        *(".hs", ".ml", ".mli", ".lisp", ".el", ".clj", ".scm", ".f90", ".f", ".pas", ".ada", ".v", ".vhd", ".asm"),
        ".s",
    ),
}
_KIND_OF = {extension: kind for kind, extensions in EXTENSIONS.items() for extension in extensions}


def kind_of(name: str) -> SourceKind | None:
    """The kind of a file by the end of its name (`.gz` and `.zst` with what stands before them); None: unknown."""
    parts = name.rpartition("/")[2].lower().split(".")
    ends = ("." + ".".join(parts[-count:]) for count in (2, 1) if len(parts) > count)
    return next((_KIND_OF[end] for end in ends if end in _KIND_OF), None)


def ranges(file: InputFile, config: SourceConfig, split_bytes: int) -> list[tuple[int, int]]:
    """The parts of about `split_bytes` in which a file is read; one, where its kind cannot be cut."""
    if file.size <= split_bytes or not _cuttable(file, config):
        return [(0, file.size)]
    count = -(-file.size // split_bytes)
    return list(itertools.pairwise(file.size * number // count for number in range(count + 1)))


def _cuttable(file: InputFile, config: SourceConfig) -> bool:
    if file.source == "parquet":
        return True
    lines = file.source == "jsonl" or (file.source == "text" and config.document != "file")
    return lines and compression(file.path) is None
