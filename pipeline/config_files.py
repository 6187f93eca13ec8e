"""YAML files and `a.b=c` overrides -> one plain dict, with the place each value came from.

1. find     CONFIG is a path, a run folder, or a recipe's name; built-in files are found from any working directory.
2. read     YAML 1.2, safe: `no` is a word, `1e-4` a number; duplicate keys and tags that build objects are errors.
3. extend   `extends:` names the file to start from; a section given as a string is the file of that name.
4. merge    mappings merge key by key (one of another `kind` replaces, as everything else does); overrides come last.

Nothing here knows which keys exist: pipeline.config does.
"""

import difflib
import importlib.resources
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from data_prep.errors import InputError

KeyPath = tuple[str, ...]

# Sections that may be given as the name of a file, and the built-in folder that name is looked up in.
SECTION_FOLDERS = {"data": "data", "model": "models"}
RUN_CONFIG_NAME = "config.yaml"
COMMAND_LINE = "command line"


def builtin_configs() -> Path:
    """The folder of the configs that come with Spanwright."""
    return Path(str(importlib.resources.files("configs")))


@dataclass
class ConfigTree:
    """A merged config: the values, and for each key path the place ("file:line" or the override) that set it.

    An item of a list has its number for a key.
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)
    source: str = "defaults"
    """The file that says what the config is."""

    def place(self, path: KeyPath) -> str:
        """Where the value at `path`, or the nearest mapping above it, was set."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return "defaults"

    def replace(self, path: KeyPath, value: Any, place: str) -> None:
        """Set `path` to `value`, forgetting what stood there."""
        parent = self._parent(path, place)
        self._forget(path)
        parent[path[-1]] = value
        self.places[path] = place

    def merge(self, other: "ConfigTree", at: KeyPath = ()) -> None:
        """Lay `other` over this tree below `at`: mappings merge, everything else replaces."""
        self._merge_values(other.values, other, at, ())

    def _merge_values(self, values: Mapping[str, Any], other: "ConfigTree", at: KeyPath, path: KeyPath) -> None:
        for key, value in values.items():
            target, source = (*at, *path, key), (*path, key)
            place = other.place(source)
            if isinstance(value, dict) and value:
                if (there := self._get(target)) is None or _is_other_kind(there, value):
                    self.replace(target, {}, place)
                elif not isinstance(there, dict):
                    raise InputError(f"{place}: {'.'.join(target)} is {there!r}, not a section.")
                self._merge_values(value, other, at, source)
            else:
                self.replace(target, value, place)
                below = {path: place for path, place in other.places.items() if path[: len(source)] == source}
                self.places |= {(*at, *path): place for path, place in below.items()}

    def _get(self, path: KeyPath) -> Any:
        node: Any = self.values
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        return node

    def _parent(self, path: KeyPath, place: str) -> dict[str, Any]:
        node = self.values
        for depth, key in enumerate(path[:-1], start=1):
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                raise InputError(f"{place}: {'.'.join(path)}: {'.'.join(path[:depth])} is {child!r}, not a section.")
            node = child
        return node

    def _forget(self, path: KeyPath) -> None:
        for known in [known for known in self.places if known[: len(path)] == path]:
            del self.places[known]


def find_config(name: str) -> Path:
    """The file that CONFIG means: a path, a run folder, a built-in path (`configs/...`) or a recipe's name."""
    given = Path(name).expanduser()
    if given.is_dir() and (given / RUN_CONFIG_NAME).is_file():
        return given / RUN_CONFIG_NAME
    builtin = builtin_configs()
    candidates = [given, builtin.parent / given, builtin / "recipes" / f"{name}.yaml", builtin / f"{name}.yaml"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if given.is_dir():
        raise InputError(
            f"{given} is a folder without {RUN_CONFIG_NAME}: not a run. Give a YAML file or a recipe's name."
        )
    recipes = sorted(path.stem for path in (builtin / "recipes").glob("*.yaml"))
    near = difflib.get_close_matches(name, recipes, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise InputError(
        f"no config named {name!r}. {hint}Give a YAML file, a run folder, or a recipe: {', '.join(recipes)}."
    )


def _is_other_kind(there: Any, value: Mapping[str, Any]) -> bool:
    return isinstance(there, dict) and "kind" in value and there.get("kind", value["kind"]) != value["kind"]


def load_tree(path: Path, overrides: Sequence[str] = ()) -> ConfigTree:
    """The merged tree of the file at `path` and the `a.b=c` overrides."""
    tree = _load_file(path, seen=())
    tree.source = str(path)
    for override in overrides:
        _apply_override(tree, override)
    return tree


def dump_yaml(values: Mapping[str, Any]) -> str:
    """`values` (plain data) as YAML that `load_tree` reads back to the same values."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 2**16  # a long path stays on its line
    yaml.representer.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    yaml.dump(dict(values), stream)
    return stream.getvalue()


def _load_file(path: Path, seen: tuple[Path, ...]) -> ConfigTree:
    path = path.resolve()
    if path in seen:
        chain = " -> ".join(str(item) for item in (*seen, path))
        raise InputError(f"{path}: extends itself: {chain}.")
    own = _read_yaml(path)
    tree = ConfigTree()
    if "extends" in own.values:
        place = own.place(("extends",))
        base = _find_base(own.values.pop("extends"), path.parent, folder="recipes", place=place)
        tree = _load_file(base, (*seen, path))
    for section, folder in SECTION_FOLDERS.items():
        if section in own.values:
            _start_section(tree, own, section, folder, path.parent, (*seen, path))
    tree.merge(own)
    return tree


def _start_section(
    tree: ConfigTree, own: ConfigTree, section: str, folder: str, beside: Path, seen: tuple[Path, ...]
) -> None:
    """Where `own` names a file for `section`, put that file's content into `tree` and leave the rest in `own`."""
    value = own.values[section]
    place = own.place((section,))
    if isinstance(value, str):
        base = value
        del own.values[section]
    elif isinstance(value, dict) and "extends" in value:
        base = value.pop("extends")
    else:
        return
    loaded = _load_file(_find_base(base, beside, folder, place), seen)
    tree.replace((section,), {}, place)
    tree.merge(loaded, at=(section,))


def _find_base(name: Any, beside: Path, folder: str, place: str) -> Path:
    if not isinstance(name, str):
        raise InputError(f"{place}: extends: {name!r} is not the name of a file.")
    builtin = builtin_configs()
    candidates = [beside / name, builtin / folder / f"{name}.yaml", builtin.parent / name, builtin / name]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in (builtin / folder).glob("*.yaml"))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{place}: no file {name!r} beside it, and none of that name built in ({', '.join(known)}).{hint}")


def _apply_override(tree: ConfigTree, override: str) -> None:
    key, separator, text = override.partition("=")
    path = tuple(key.split("."))
    if not separator or not all(path):
        raise InputError(f"{COMMAND_LINE}: {override!r} is not an override. Write section.key=value.")
    place = f"{COMMAND_LINE} ({override})"
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        hint = f"Quote what has brackets, commas or colons in it: '{key}=[\"a, b [1].txt\"]'."
        raise InputError(f"{place}: the value is not YAML: {_first_line(error)}. {hint}") from None
    if len(path) == 1 and path[0] in SECTION_FOLDERS and isinstance(value, str):
        own = ConfigTree({path[0]: value}, {path: place})
        _start_section(tree, own, path[0], SECTION_FOLDERS[path[0]], Path.cwd(), ())
        return
    tree.merge(_nested(path, value, place))


def _nested(path: KeyPath, value: Any, place: str) -> ConfigTree:
    tree = ConfigTree()
    tree.replace(path, value, place)
    for length in range(1, len(path)):
        tree.places[path[:length]] = place
    return tree


def _read_yaml(path: Path) -> ConfigTree:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path}: cannot be read: {reason}.") from None
    yaml = YAML(typ="safe", pure=True)
    try:
        values = yaml.load(text)
        places = _places(YAML(typ="safe", pure=True).compose(text), path)
    except YAMLError as error:
        raise InputError(f"{_marked(path, error)}: not valid YAML: {_first_line(error)}.") from None
    except (RecursionError, ValueError) as error:  # nested thousands deep; a number of thousands of digits
        raise InputError(f"{path}: no config looks like this ({type(error).__name__}).") from None
    if values is None:
        return ConfigTree()
    if not isinstance(values, dict):
        raise InputError(f"{path}:1: a config is a mapping of sections, not a {type(values).__name__}.")
    return ConfigTree(values, places)


def _places(root: Node, path: Path) -> dict[KeyPath, str]:
    """Where each key and item stands; what an alias repeats is placed once."""
    found: dict[KeyPath, str] = {}
    seen: set[int] = set()
    above: list[Node] = []

    def visit(node: Node, at: KeyPath) -> None:
        if node in above:
            raise InputError(f"{path}:{node.start_mark.line + 1}: {'.'.join(at)} is a part of itself.")
        if id(node) in seen:
            return
        seen.add(id(node))
        above.append(node)
        if isinstance(node, MappingNode):
            pairs = [(str(key_node.value), key_node, value_node) for key_node, value_node in node.value]
        elif isinstance(node, SequenceNode):
            pairs = [(str(number), item, item) for number, item in enumerate(node.value)]
        else:
            pairs = []
        for key, place, value in pairs:
            found[*at, key] = f"{path}:{place.start_mark.line + 1}"
            visit(value, (*at, key))
        above.pop()

    visit(root, ())
    return found


def _marked(path: Path, error: YAMLError) -> str:
    mark = error.problem_mark or error.context_mark if isinstance(error, MarkedYAMLError) else None
    return f"{path}:{mark.line + 1}" if mark else str(path)


def _first_line(error: YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    twice = re.match(r"found duplicate key \"(.*?)\"", problem)
    return f"the key {twice[1]!r} is there twice" if twice else problem
