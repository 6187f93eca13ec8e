"""JSON Lines: one object per line, the text in `data.text_field`, the id in `data.id_field`.

A line belongs to the split in which it begins, so one large file is read by many tasks.
"""

import json
from collections.abc import Iterator
from typing import Any

from data_prep.config import DataConfig
from data_prep.sources.document import BadDocument, Document, InputSplit, checked, open_split, undecodable
from data_prep.sources.lines import Line, lines_in

EXTENSIONS = (".jsonl", ".ndjson")


def read(split: InputSplit, config: DataConfig) -> Iterator[Document | BadDocument]:
    """The documents of the lines that begin in `split`; blank lines are none. The id is else `name:byte offset`."""
    with open_split(split) as file:
        for line in lines_in(file, split.start, split.stop):
            if not line.blank:
                yield _document(line, split, config)


def _document(line: Line, split: InputSplit, config: DataConfig) -> Document | BadDocument:
    try:
        record = json.loads(line.data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return undecodable(split, line.offset, error)
    except (ValueError, RecursionError) as error:
        return BadDocument(split.path, line.offset, "bad_json", f"not JSON: {_first_line(error)}")
    try:
        text = _field(record, config.text_field, "data.text_field", (str,))
        id = f"{split.name}:{line.offset}"
        if config.id_field is not None:
            id = str(_field(record, config.id_field, "data.id_field", (str, int)))
    except LookupError as error:
        return BadDocument(split.path, line.offset, "missing_field", str(error.args[0]))
    except TypeError as error:
        return BadDocument(split.path, line.offset, "wrong_type", str(error))
    return checked(text, split, line.offset, id)


_JSON_TYPES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _field(record: Any, name: str, setting: str, types: tuple[type, ...]) -> Any:
    if not isinstance(record, dict):
        raise TypeError(f"{_JSON_TYPES[type(record)]}, expected an object with a field {name!r}")
    if name not in record:
        raise LookupError(f"no field {name!r} (it has: {', '.join(list(record)[:8]) or 'none'}); set {setting}")
    if not isinstance(record[name], types) or isinstance(record[name], bool):
        expected = " or ".join("a string" if kind is str else "a number" for kind in types)
        raise TypeError(f"field {name!r} is {_JSON_TYPES[type(record[name])]}, expected {expected}; set {setting}")
    return record[name]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
