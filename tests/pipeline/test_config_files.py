"""YAML files and overrides become one tree whose values know where they came from."""

from pathlib import Path

import pytest

from data_prep.errors import InputError
from pipeline.config_files import dump_yaml, find_config, load_tree


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_1_2_reads_no_as_a_word_and_1e_4_as_a_number(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "language: no\nrate: 1e-4\nmode: 0777\nswitch: true\nempty: null\n")
    values = load_tree(path).values
    assert values == {"language": "no", "rate": 0.0001, "mode": 777, "switch": True, "empty": None}
    assert isinstance(values["rate"], float)


def test_overrides_are_read_as_yaml_1_2_too(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "x: {rate: 1}\n")
    tree = load_tree(path, ["x.rate=1e-4", "x.language=no", "x.paths=[a.txt, b.txt]", "y.z.w=3"])
    assert tree.values == {"x": {"rate": 0.0001, "language": "no", "paths": ["a.txt", "b.txt"]}, "y": {"z": {"w": 3}}}


def test_extends_merges_mappings_and_replaces_everything_else(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "a: {x: 1, y: [1, 2, 3]}\nb: 1\n")
    child = write(tmp_path, "child.yaml", "extends: base.yaml\na: {y: [9], z: 2}\n")
    assert load_tree(child).values == {"a": {"x": 1, "y": [9], "z": 2}, "b": 1}


def test_a_value_knows_the_file_and_line_that_set_it(tmp_path: Path) -> None:
    base = write(tmp_path, "base.yaml", "a:\n  x: 1\n  y: 2\n")
    child = write(tmp_path, "child.yaml", "extends: base.yaml\n\na:\n  y: 3\n")
    tree = load_tree(child, ["a.z=4"])
    assert tree.place(("a", "x")) == f"{base}:2"
    assert tree.place(("a", "y")) == f"{child}:4"
    assert tree.place(("a", "z")) == "command line (a.z=4)"


def test_a_section_given_as_a_string_is_the_file_of_that_name(tmp_path: Path) -> None:
    write(tmp_path, "mine.yaml", "paths: [x.txt]\nname: mine\n")
    config = write(tmp_path, "run.yaml", "data: mine.yaml\n")
    assert load_tree(config).values["data"] == {"paths": ["x.txt"], "name": "mine"}


def test_a_section_that_extends_a_file_keeps_its_own_keys(tmp_path: Path) -> None:
    write(tmp_path, "mine.yaml", "paths: [x.txt]\nname: mine\n")
    config = write(tmp_path, "run.yaml", "data: {extends: mine.yaml, name: other}\n")
    assert load_tree(config).values["data"] == {"paths": ["x.txt"], "name": "other"}


def test_naming_another_file_for_a_section_forgets_the_one_below(tmp_path: Path) -> None:
    write(tmp_path, "one.yaml", "a: 1\n")
    write(tmp_path, "two.yaml", "b: 2\n")
    write(tmp_path, "base.yaml", "data: one.yaml\n")
    child = write(tmp_path, "child.yaml", "extends: base.yaml\ndata: two.yaml\n")
    assert load_tree(child).values["data"] == {"b": 2}


def test_a_section_override_reads_a_file_beside_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "one.yaml", "a: 1\n")
    write(tmp_path, "two.yaml", "b: 2\n")
    config = write(tmp_path, "run.yaml", "data: one.yaml\n")
    assert load_tree(config, ["data=two.yaml", "data.c=3"]).values["data"] == {"b": 2, "c": 3}


def test_builtin_configs_are_found_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_path = find_config("configs/recipes/t5_span.yaml")
    assert by_path == find_config("t5_span")
    assert by_path.is_file()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: [1\n", ":2: not valid YAML"),
        ("a: 1\na: 2\n", ":2: not valid YAML: the key 'a' is there twice"),
        ("a: !!python/object/apply:os.system [id]\n", ":1: not valid YAML: could not determine a constructor"),
        ("- 1\n", ":1: a config is a mapping"),
        ("a:\n  - &x [*x]\n", ":2: a.0.0 is a part of itself"),
    ],
)
def test_what_is_not_a_config_is_refused_with_file_and_line(tmp_path: Path, text: str, wanted: str) -> None:
    path = write(tmp_path, "bad.yaml", text)
    with pytest.raises(InputError) as caught:
        load_tree(path)
    assert f"{path}{wanted}" in str(caught.value)


def test_bytes_that_are_not_utf8_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: é\n".encode("latin-1"))
    with pytest.raises(InputError, match=str(path)):
        load_tree(path)


def test_a_file_that_extends_itself_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    path = write(tmp_path, "b.yaml", "extends: a.yaml\n")
    with pytest.raises(InputError, match="extends itself"):
        load_tree(path)


def test_an_unknown_name_proposes_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 't5_span'"):
        find_config("t5_spann")
    config = write(tmp_path, "run.yaml", "model: tinny\n")
    with pytest.raises(InputError, match=r"run.yaml:1: no file 'tinny'.*Did you mean 'tiny'"):
        load_tree(config)


def test_an_override_without_a_value_is_refused(tmp_path: Path) -> None:
    config = write(tmp_path, "run.yaml", "a: 1\n")
    with pytest.raises(InputError, match=r"section\.key=value"):
        load_tree(config, ["a"])
    with pytest.raises(InputError, match="a is 1, not a section"):
        load_tree(config, ["a.b=2"])


def test_what_is_dumped_reads_back_the_same(tmp_path: Path) -> None:
    values = {"language": "no", "rate": 1e-05, "text": "a: b\nc", "number": "0777", "nothing": None, "list": [1, "x"]}
    path = write(tmp_path, "dump.yaml", dump_yaml(values))
    assert load_tree(path).values == values
