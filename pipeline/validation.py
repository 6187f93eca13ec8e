"""From the values of merged files to a frozen model; what is wrong is one message that names each mistake's place."""

import difflib
import re
import types
import typing
from collections.abc import Mapping
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
        lines = [_explain(detail, tree, model) for detail in error.errors(include_url=False)]
        raise InputError("\n".join(lines)) from None


def _explain(detail: ErrorDetails, tree: ConfigTree, model: type[BaseModel]) -> str:
    path: KeyPath = tuple(str(part) for part in detail["loc"])
    place = tree.place(_known_prefix(path, tree.values))
    name = ".".join(path)
    if detail["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1], tree.values)
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
        return f"{place}: {name}: no such key. {hint}"
    if detail["type"] == "missing":
        return f"{place}: {name} is missing. Give it in the file, or as {name}=VALUE on the command line."
    message = _PLAIN_WORDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ").rstrip(".")
    if (blamed := _blamed_key(message, tree)) and blamed[: len(path)] == path:  # a check over a whole section
        return f"{tree.place(blamed)}: {message}."
    value = detail["input"]
    shown = "" if isinstance(value, Mapping | BaseModel) else f" (got {value!r})"
    return f"{place}: {name}: {message}{shown}." if name else f"{place}: {message}."


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


def _known_prefix(path: KeyPath, values: Mapping[str, Any]) -> KeyPath:
    """The longest prefix of `path` that is in `values`: pydantic adds union tags and list indexes of its own."""
    node: Any = values
    for length, key in enumerate(path):
        if not isinstance(node, Mapping) or key not in node:
            return path[:length]
        node = node[key]
    return path


def _known_keys(model: type[BaseModel], path: KeyPath, values: Mapping[str, Any]) -> list[str]:
    """The keys that may stand in the section at `path`."""
    node: Any = values
    for key in path:
        node = node.get(key, {}) if isinstance(node, Mapping) else {}
        if key in model.model_fields:  # a union adds its tag to the path: its model has been picked before
            section = _pick(model.model_fields[key].annotation, node)
            if section is None:
                return []
            model = section
    return sorted(model.model_fields)


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
