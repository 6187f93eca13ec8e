"""Source code: a document is a file, exactly as it is. UTF-8; Python files in the encoding they declare (PEP 263)."""

import io
import tokenize
from collections.abc import Iterator

from data_prep.config import DataConfig
from data_prep.sources.document import BadDocument, Document, InputSplit, checked, read_file, undecodable

_PYTHON = (".py", ".pyi")
EXTENSIONS = (
    *_PYTHON,
    *(".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".cu", ".m", ".swift", ".rs", ".go", ".zig", ".d"),
    *(".java", ".kt", ".scala", ".cs", ".fs", ".js", ".jsx", ".mjs", ".ts", ".tsx", ".dart", ".vue"),
    *(".rb", ".php", ".pl", ".pm", ".lua", ".r", ".jl", ".sh", ".bash", ".sql", ".tcl", ".ex", ".exs", ".erl"),
    *(".hs", ".ml", ".mli", ".lisp", ".el", ".clj", ".scm", ".f90", ".f", ".pas", ".ada", ".v", ".vhd", ".asm", ".s"),
)


def read(split: InputSplit, config: DataConfig) -> Iterator[Document | BadDocument]:
    """The one document of a file."""
    data = read_file(split)
    try:
        text = data.decode(_encoding(split, data))
    except UnicodeDecodeError as error:
        yield undecodable(split, 0, error)
    except SyntaxError as error:
        yield BadDocument(split.path, 0, "undecodable", f"no such encoding: {error}")
    else:
        yield checked(text, split, 0, split.name)


def _encoding(split: InputSplit, data: bytes) -> str:
    if not split.path.endswith(_PYTHON) or b"coding" not in data[:400]:
        return "utf-8"
    try:
        return tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except UnicodeDecodeError:
        return "utf-8"
