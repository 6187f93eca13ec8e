"""From the values of merged files to a frozen model; what is wrong is one message that names each mistake's place."""

import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from data_prep.errors import InputError
from pipeline.config_files import ConfigTree, KeyPath

Model = TypeVar("Model", bound=BaseModel)


def validate_tree(tree: ConfigTree, model: type[Model]) -> Model:
    """`tree` as a frozen `model`, or one InputError that lists every mistake with its place."""
    try:
        return model.model_validate(tree.values)
    except ValidationError as error:
        lines = [_placed(path, problem, tree) for path, problem in mistakes(error, tree.values, model)]
        raise InputError("\n".join(lines)) from None


def mistakes(
    error: ValidationError, values: Mapping[str, Any], model: type[BaseModel]
) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong in `values`, which are no `model`: of each mistake its key, () of a check over everything."""
    for detail in error.errors(include_url=False):
        path = _keys(detail, values)
        yield path, _problem(detail, path, values, model)


def _placed(path: KeyPath, problem: str, tree: ConfigTree) -> str:
    if (blamed := _blamed_key(problem, tree)) and blamed[: len(path)] == path:  # a check over a whole section
        return f"{tree.place(blamed)}: {problem}"
    known = _known_prefix(path, tree.values)
    place = tree.place(known) if known or not path else tree.source
    return ": ".join([place, *([".".join(path)] if path else []), problem])


def _problem(detail: ErrorDetails, path: KeyPath, values: Mapping[str, Any], model: type[BaseModel]) -> str:
    if detail["type"] == "extra_forbidden":
        return f"no such key.{_hint(path[-1], _known_keys(model, path[:-1], values))}"
    if detail["type"] == "missing":
        override = "" if any(part.isdigit() for part in path) else f", or as {'.'.join(path)}=VALUE"
        return f"it is missing. Give it in the file{override}."
    if detail["type"] == "union_tag_not_found":
        return "it needs a kind."
    if detail["type"] == "union_tag_invalid":
        given, kinds = detail["ctx"]["tag"], re.findall(r"'([^']*)'", detail["ctx"]["expected_tags"])
        return f"no kind {given!r} here.{_hint(given, kinds)}"
    message = _PLAIN_WORDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").rstrip(".")
    value = detail["input"]
    shown = "" if isinstance(value, Mapping | BaseModel) else f" (got {value!r})"
    return f"{message}{shown}{'' if message.endswith('?') and not shown else '.'}"


def _hint(given: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known here: {', '.join(known)}." if known else ""


_PLAIN_WORDS = {
    "tuple_type": "Input should be a list",
    "dict_type": "Input should be a section of keys",
    "model_type": "Input should be a section of keys",
    "model_attributes_type": "Input should be a section of keys",
}


def _blamed_key(message: str, tree: ConfigTree) -> KeyPath | None:
    """The key that `message` begins with, if it is one of the config's."""
    first = tuple(re.split(r"[^a-z0-9_.]", message, maxsplit=1)[0].rstrip(".").split("."))
    return first if len(first) > 1 and _known_prefix(first, tree.values) == first else None


def _keys(detail: ErrorDetails, values: Mapping[str, Any]) -> KeyPath:
    """The keys of the config, and numbers of items, that a mistake lies at: pydantic adds kinds and types to them."""
    node: Any = values
    path = []
    for number, key in enumerate(map(str, detail["loc"]), start=1):
        if _has(node, key) or (detail["type"] == "missing" and number == len(detail["loc"])):
            path.append(key)
            node = _below(node, key)
    return tuple(path)


def _has(node: Any, key: str) -> bool:
    if isinstance(node, Mapping):
        return key in node
    return isinstance(node, list) and key.isdigit() and int(key) < len(node)


def _below(node: Any, key: str) -> Any:
    """What is under a key of a section, or of a list's item by its number; None where that is nothing."""
    if not _has(node, key):
        return None
    return node[key] if isinstance(node, Mapping) else node[int(key)]


def _known_prefix(path: KeyPath, values: Mapping[str, Any]) -> KeyPath:
    """The longest prefix of `path` that is in `values`."""
    node: Any = values
    for length, key in enumerate(path):
        if not _has(node, key):
            return path[:length]
        node = _below(node, key)
    return path


def _known_keys(model: type[BaseModel], path: KeyPath, values: Mapping[str, Any]) -> list[str]:
    """The keys that may stand in the section at `path`."""
    annotation: Any = model
    node: Any = values
    for key in path:
        section = _pick(annotation, node)
        field = section.model_fields.get(key) if section else None
        annotation = field.annotation if field else _item(annotation)
        node = _below(node, key)
    section = _pick(annotation, node)
    return sorted(section.model_fields) if section else []


def _item(annotation: Any) -> Any:
    """What the items of a list are, or the values of a section with names of the user's own."""
    options = [part for part in typing.get_args(annotation) if part not in (Ellipsis, type(None))]
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return _item(options[0]) if is_union else options[-1] if options else None


def _pick(annotation: Any, value: Any) -> type[BaseModel] | None:
    """The model among `annotation`'s alternatives that `value` belongs to, by its `kind` where there are several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType, typing.Annotated):
        return None
    models = [found for part in typing.get_args(annotation) if (found := _pick(part, value))]
    kind = value.get("kind") if isinstance(value, Mapping) else None
    chosen = [found for found in models if "kind" in found.model_fields and found.model_fields["kind"].default == kind]
    return next(iter([*chosen, *models]), None)
