import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import InputError
from data_prep.sources import InputSplit, read
from data_prep.sources.config import SourceConfig
from data_prep.sources.inputs import corpus_name, find_inputs


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def found(**config: object) -> list[tuple[str, str]]:
    return [(file.name, file.source) for file in find_inputs(SourceConfig.model_validate(config))]


def test_files_of_a_folder_are_sorted_and_told_apart_by_extension(tmp_path: Path) -> None:
    make(tmp_path, "b/two.py", "a.txt", "b/one.JSONL", "c.bin", ".hidden.txt", ".git/x.txt", "README")
    assert found(paths=str(tmp_path)) == [("a.txt", "text"), ("b/one.JSONL", "jsonl"), ("b/two.py", "code")]


def test_include_and_exclude_choose_among_the_files_of_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "notes/b.txt", "notes/c.md", "notes/d.py")
    assert found(paths=str(tmp_path), include=["*.txt"], exclude=["notes/*"]) == [("a.txt", "text")]
    assert found(paths=str(tmp_path), include=["notes/*"], exclude=["*.py"]) == [
        ("notes/b.txt", "text"),
        ("notes/c.md", "text"),
    ]


def test_named_files_are_taken_whatever_include_says(tmp_path: Path) -> None:
    make(tmp_path, "x.jsonl", "y.log")
    assert found(paths=str(tmp_path / "x.jsonl"), include=["*.py"], exclude=["*"]) == [("x.jsonl", "jsonl")]
    assert found(paths=str(tmp_path / "y.log"), source="text") == [("y.log", "text")]


def test_a_source_given_for_a_folder_takes_that_kinds_extensions(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.py")
    assert found(paths=str(tmp_path), source="text") == [("a.txt", "text")]
    assert found(paths=str(tmp_path), source="text", include=["*"]) == [("a.txt", "text"), ("b.py", "text")]


def test_a_glob_is_a_sorted_list_of_named_files(tmp_path: Path) -> None:
    make(tmp_path, "d/b.txt", "d/e/a.txt", "d/c.md")
    assert found(paths=f"{tmp_path}/d/**/*.txt") == [("b.txt", "text"), ("e/a.txt", "text")]


def test_a_file_whose_name_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.txt")).write_text("text")
    with pytest.raises(InputError, match=r"a\\xff.txt: the file's name is not UTF-8; rename it, or leave it out"):
        found(paths=str(tmp_path))
    assert found(paths=str(make(tmp_path, "b.txt")), include=["b*"]) == [("b.txt", "text")]


def test_the_same_file_is_taken_once_at_its_first_place(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt")
    os.symlink(tmp_path / "b.txt", tmp_path / "again.txt")
    paths = [str(tmp_path / "b.txt"), str(tmp_path), f"{tmp_path}/./b.txt"]
    assert found(paths=paths) == [("b.txt", "text"), ("a.txt", "text")]


def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    make(tmp_path, "one/x/a.txt", "two/x/a.txt", "b.txt")
    paths = [str(tmp_path / name) for name in ("one/x/a.txt", "two/x/a.txt", "b.txt")]
    assert [name for name, _ in found(paths=paths)] == ["one/x/a.txt", "two/x/a.txt", "b.txt"]


def test_the_standard_library_comes_without_tests_and_installed_packages() -> None:
    files = find_inputs(SourceConfig.model_validate({"paths": "python:stdlib"}))
    names = [file.name for file in files]
    assert names == sorted(names)
    assert {"json/decoder.py", "os.py"} <= set(names)
    assert not [name for name in names if {"test", "tests", "site-packages"} & set(name.split("/"))]
    assert sum(file.size for file in files) > 5_000_000


def test_a_corpus_is_called_after_its_first_path() -> None:
    assert corpus_name(SourceConfig.model_validate({"paths": "python:stdlib"})) == "stdlib"
    assert corpus_name(SourceConfig.model_validate({"paths": "/x/my texts.jsonl"})) == "my-texts"
    assert corpus_name(SourceConfig.model_validate({"paths": "/x/logs/*.txt"})) == "logs"
    assert corpus_name(SourceConfig.model_validate({"paths": "a.txt", "name": "mine"})) == "mine"


MISTAKES: list[tuple[str, Callable[[Path], object], str]] = [
    ("nothing", lambda folder: [], "data.paths is empty"),
    ("missing", lambda folder: str(folder / "none.txt"), "none.txt: no such file or folder"),
    ("unmatched", lambda folder: str(folder / "*.txt"), "holds nothing to read"),
    ("empty folder", lambda folder: str(folder), "holds nothing to read"),
    ("unknown kind", lambda folder: str(make(folder, "a.xyz") / "a.xyz"), "cannot tell what is in it.*data.source"),
    ("unknown corpus", lambda folder: "python:site", "python:stdlib"),
    ("a device", lambda folder: "/dev/null", "neither a file nor a folder"),
]


@pytest.mark.parametrize(("case", "paths", "message"), MISTAKES, ids=[case for case, _, _ in MISTAKES])
def test_a_path_that_leads_nowhere_is_one_clear_message(
    case: str, paths: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        find_inputs(SourceConfig.model_validate({"paths": paths(tmp_path)}))


@pytest.mark.parametrize("target", ["a.txt", "closed/b.txt", "closed", ".", "closed/*.txt"])
def test_a_path_without_permission_is_one_message_that_names_it(
    target: str, public_folder: Path, as_nobody: Callable[..., Any]
) -> None:
    make(public_folder, "a.txt", "closed/b.txt")
    (public_folder / "a.txt").chmod(0)
    (public_folder / "closed").chmod(0)
    config = SourceConfig.model_validate({"paths": str(public_folder / target)})
    try:
        with as_nobody(), pytest.raises(InputError, match=r"^data\.paths: .*(a\.txt|b\.txt|closed)") as raised:
            find_inputs(config)
    finally:
        (public_folder / "closed").chmod(0o700)
    assert "\n" not in str(raised.value)


def test_a_folder_without_known_files_says_how_to_take_them_all(tmp_path: Path) -> None:
    make(tmp_path, "GPL-3", "b.log")
    with pytest.raises(InputError, match=r"data\.source=text data\.include=\['\*'\]$"):
        found(paths=str(tmp_path))
    with pytest.raises(InputError, match=r"\.txt .*data\.source=text\).*data\.include=\['\*'\]$"):
        found(paths=str(tmp_path), source="text")
    with pytest.raises(InputError, match=r"looked for \*\.csv \(data\.include\)$"):
        found(paths=str(tmp_path), include="*.csv")
    assert found(paths=str(tmp_path), source="text", include=["*"]) == [("GPL-3", "text"), ("b.log", "text")]


def test_a_file_is_recognised_by_its_size_and_time_of_change(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    config = SourceConfig(paths=(str(tmp_path),))
    [before] = find_inputs(config)
    assert (before.size, before.version) == (5, str((tmp_path / "a.txt").stat().st_mtime_ns))
    assert find_inputs(config) == [before]
    os.utime(tmp_path / "a.txt", ns=(1, 1))
    [after] = find_inputs(config)
    assert (after.version, after.size) == ("1", before.size)


def test_what_is_no_regular_file_of_a_folder_is_no_input(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    os.symlink(tmp_path / "gone", tmp_path / "broken.txt")
    os.symlink(tmp_path, tmp_path / "loop")
    (tmp_path / "folder.txt").mkdir()
    assert found(paths=str(tmp_path)) == [("a.txt", "text")]


def test_a_large_folder_is_listed_in_the_order_of_its_names(tmp_path: Path) -> None:
    names = sorted(f"d{number % 37}/f{number}.txt" for number in range(5000))
    for name in reversed(names):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [name for name, _ in found(paths=str(tmp_path))] == names


@pytest.mark.parametrize("name", ["pipe.txt", "gone.txt"])
def test_a_file_that_became_something_else_is_refused_without_waiting(name: str, tmp_path: Path) -> None:
    make(tmp_path, name)
    config = SourceConfig(paths=(str(tmp_path),))
    [file] = find_inputs(config)
    os.unlink(tmp_path / name)
    if name == "pipe.txt":
        os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=r"not a regular file|No such file"):
        list(read(InputSplit(file, 0, file.size), config))
