"""A record (of JSON Lines, parquet or arrow) to documents: one, or with `data.parallel` one for each language.

1. `field_of` finds a field: by its name, or by a path `a.b` into nested records.
2. `documents` takes text, id and language out of the fields that the config names.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from data_prep.sources.config import ParallelConfig, SourceConfig
from data_prep.sources.document import BadDocument, Document, Place

_TYPE_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bytes: "bytes",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def documents(record: Any, place: Place, id: str, config: SourceConfig) -> Iterator[Document | BadDocument]:
    """The documents of a record; `id` is that of a record without one of its own."""
    try:
        if config.id_field is not None:
            id = str(_field(record, config.id_field, "data.id_field", (str, int)))
        if config.parallel is not None and config.parallel.align == "field":
            yield from _aligned(record, place, id, config.parallel)
            return
        text = _field(record, config.text_field, "data.text_field", (str,))
        lang = None if config.lang_field is None else _field(record, config.lang_field, "data.lang_field", (str,))
    except LookupError as error:
        yield place.bad("missing_field", str(error.args[0]))
    except TypeError as error:
        yield place.bad("wrong_type", str(error))
    else:
        yield place.document(text, id, lang=lang)


def columns(config: SourceConfig) -> list[str]:
    """The fields that `documents` looks at."""
    fields = [config.id_field, config.lang_field]
    if config.parallel is not None and config.parallel.align == "field":
        fields = [config.id_field, *map(config.parallel.field_of, config.parallel.languages)]
    else:
        fields.append(config.text_field)
    return [name for name in fields if name is not None]


def projected(names: Iterable[str], config: SourceConfig) -> list[str]:
    """Those of a table's columns that `documents` needs."""
    wanted = {part for name in columns(config) for part in (name, name.partition(".")[0])}
    return [name for name in names if name in wanted]


def _aligned(record: Any, place: Place, id: str, parallel: ParallelConfig) -> Iterator[Document | BadDocument]:
    texts = {
        language: _field(record, parallel.field_of(language), "data.parallel.fields", (str, type(None)))
        for language in parallel.languages
    }
    there = {language: text for language, text in texts.items() if text and not text.isspace()}
    if not there:
        yield place.bad("empty", "the record is empty in every language")
    pair = id if len(there) > 1 else None
    for language, text in there.items():
        yield place.document(text, f"{id}:{language}", lang=language, pair=pair)


def _field(record: Any, name: str, setting: str, types: tuple[type, ...]) -> Any:
    if not isinstance(record, dict):
        raise TypeError(f"{_type_name(record)}, expected an object with a field {name!r}")
    value = _found(record, name)
    if value is _MISSING:
        raise LookupError(f"no field {name!r} (it has: {', '.join(list(record)[:8]) or 'none'}); set {setting}")
    if not isinstance(value, types) or isinstance(value, bool):
        expected = " or ".join(dict.fromkeys(_TYPE_NAMES[kind] for kind in types))
        raise TypeError(f"field {name!r} is {_type_name(value)}, expected {expected}; set {setting}")
    return value


_MISSING = object()


def _found(record: dict[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return _MISSING
        value = value[part]
    return value


def _type_name(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), f"of type {type(value).__name__}")
