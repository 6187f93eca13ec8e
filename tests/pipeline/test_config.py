"""Typed configs: every file loads, strict about keys and types, fingerprints follow content."""

from pathlib import Path

import pytest

from data_prep.config import DataConfig
from data_prep.errors import InputError
from pipeline.config import RunConfig, fingerprint, load_config, load_run, save_config
from pipeline.config_files import builtin_configs, load_tree
from pipeline.model.config import ModelConfig
from pipeline.validation import validate_tree

CONFIGS = builtin_configs()
SECTIONS = {"models": ModelConfig, "data": DataConfig}


def test_every_config_file_is_covered_by_the_tests_below() -> None:
    covered = {"models", "data", "recipes", "clusters"}  # the last in tests/launch/clusters
    assert {path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name != "__pycache__"} == covered


@pytest.mark.parametrize("path", [*CONFIGS.glob("recipes/*.yaml"), *CONFIGS.glob("*.yaml")], ids=lambda path: path.stem)
def test_every_recipe_loads(path: Path) -> None:
    config = load_config(str(path), ["data.paths=[corpus.jsonl]"])
    assert config.recipe.name == path.stem
    assert config.recipe.source


@pytest.mark.parametrize(
    "path", [path for folder in SECTIONS for path in CONFIGS.glob(f"{folder}/*.yaml")], ids=lambda path: path.stem
)
def test_every_section_file_loads(path: Path) -> None:
    validate_tree(load_tree(path), SECTIONS[path.parent.name])


def load(tmp_path: Path, *overrides: str) -> RunConfig:
    return load_config("t5_span", ["data.paths=[corpus.jsonl]", f"run.dir={tmp_path / 'run'}", *overrides])


def test_no_is_a_word_where_a_word_is_wanted(tmp_path: Path) -> None:
    assert load(tmp_path, "data.text_field=no").data.text_field == "no"


def test_1e_4_is_a_number(tmp_path: Path) -> None:
    assert load(tmp_path, "training.learning_rate=1e-4").training.learning_rate == 1e-4


def test_relative_paths_are_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config("t5_span", ["data.paths=[a/b.jsonl, 'python:stdlib']", "run.dir=here"])
    assert config.data.paths == (str(tmp_path / "a" / "b.jsonl"), "python:stdlib")
    assert config.run_dir == tmp_path / "here"
    assert config.data_dir == tmp_path / "here" / "data"


def test_overriding_the_paths_of_the_stdlib_data_reads_another_corpus(tmp_path: Path) -> None:
    config = load_config("demo", [f"data.paths=[{tmp_path / 'mine.jsonl'}]"])
    assert config.data.paths == (str(tmp_path / "mine.jsonl"),)


def test_a_saved_run_loads_to_the_same_config(tmp_path: Path) -> None:
    config = load(tmp_path, "training.learning_rate=1e-5", "deepspeed={zero_optimization: {overlap_comm: false}}")
    save_config(config)
    assert load_run(tmp_path / "run") == config


def test_a_moved_run_is_where_it_is_now(tmp_path: Path) -> None:
    save_config(load(tmp_path))
    (tmp_path / "run").rename(tmp_path / "moved")
    assert load_run(tmp_path / "moved").run_dir == tmp_path / "moved"
    assert load_config(str(tmp_path / "moved")).run_dir == tmp_path / "moved"
    assert load_config(str(tmp_path / "moved"), ["run.dir=/a/third"]).run_dir == Path("/a/third")
    assert load_config(str(tmp_path / "moved"), ["run={dir: /a/third}"]).run_dir == Path("/a/third")


def test_a_folder_that_has_a_recipes_name_is_not_taken_for_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").mkdir()
    assert load_config("bert", ["data.paths=[a.txt]"]).run_dir == tmp_path / "runs" / "bert"


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, "training.steps=x", "model.d_modell=3", "stream.packing=tight")
    message = str(caught.value)
    assert "training.steps" in message
    assert "model.d_modell: no such key. Did you mean 'd_model'?" in message
    assert "stream.packing" in message
    assert "(got 'tight')" in message


def test_a_cross_field_error_shows_both_values(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"global_batch=10 .*micro_batch=4 x ranks=2"):
        load(tmp_path, "training.global_batch=10", "training.micro_batch=4", "training.ranks=2")


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text("model: tiny\n")
    with pytest.raises(InputError, match=r"bare\.yaml: it has no recipe: begin it with `extends: t5_span`"):
        load_config(str(path))
    path.write_text("model: tiny\nobjective: {kind: denoising}\n")
    with pytest.raises(InputError, match=r"bare\.yaml: training: it is missing\. Give it in the file, or as training="):
        load_config(str(path))


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("second_draw:\n    select: {kind: exactly_k, rate: 2}", 5, "second_draw.select.rate: Input should be less"),
        (
            "mixture:\n    - weight: 1\n      select: {kind: spans}",
            6,
            "mixture.0.select: no kind 'spans' here. Did",
        ),
        ("mixture:\n    - weight: 1\n      select: {rate: 0.1}", 6, "mixture.0.select: it needs a kind."),
        ("mixture:\n    - {weight: 1}\n    - {wait: 1}", 6, "mixture.1.wait: no such key. Did you mean 'weight'?"),
    ],
)
def test_a_mistake_deep_in_a_file_has_the_line_and_the_key_of_the_file(
    text: str, line: int, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(f"extends: dupmae\ndata: {{paths: [a.txt]}}\ncorruption:\n  {text}\n")
    with pytest.raises(InputError) as caught:
        load_config(str(path))
    assert f"{path}:{line}: corruption.{problem}" in str(caught.value)


def test_the_keys_that_may_stand_below_a_name_of_the_users_own_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.groups\.mine\.lr: no such key\. Known here: frozen_steps, learn"):
        load(tmp_path, "training.groups.mine={parameters: [embedding], lr: 1}")


def test_fingerprints_follow_content_and_nothing_else(tmp_path: Path) -> None:
    one, same = load(tmp_path), load(tmp_path)
    other = load(tmp_path, "corruption.select.noise_density=0.16")
    assert fingerprint(one.corruption) == fingerprint(same.corruption)
    assert fingerprint(one.corruption) != fingerprint(other.corruption)


def test_a_cross_field_error_is_placed_where_the_field_was_set(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^command line \(training\.global_batch=7\): training\.global_batch=7 is not"
    ):
        load(tmp_path, "training.micro_batch=4", "training.global_batch=7")


def test_types_are_told_in_words_of_yaml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.paths: Input should be a list \(got None\)"):
        load(tmp_path, "data.paths=")
    with pytest.raises(InputError, match=r"training: Input should be a section of keys \(got 5\)"):
        load(tmp_path, "training=5")
    with pytest.raises(InputError, match="Quote what has brackets"):
        load(tmp_path, "data.paths=[a [1].txt]")


def test_a_tokenizer_of_ones_own_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path, "data.tokenizer.path=my.model").data.tokenizer.path == str(tmp_path / "my.model")
    assert load(tmp_path, "data.paths=['a:b.txt']").data.paths == (str(tmp_path / "a:b.txt"),)


def test_an_objective_without_its_view_is_refused_at_config_time(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"corruption.layout: in_place gives no decoder view, which objective denoising"
    ):
        load(tmp_path, "corruption.layout.kind=in_place", "corruption.replace.kind=token_by_token")


def test_the_path_of_a_table_is_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    replace = "{kind: token_by_token, similar: 0.1, table: similar.npy}"
    config = load(tmp_path, f"corruption.replace={replace}")
    assert config.corruption.model_dump()["replace"]["table"] == str(tmp_path / "similar.npy")
    save_config(config)
    assert load_run(config.run_dir).corruption == config.corruption


def test_a_section_of_another_kind_replaces_the_one_it_extends(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "extends: t5_span\ncorruption:\n  select: {kind: whole_words, rate: 0.1}\ndata: {paths: [x.jsonl]}\n"
    )
    select = load_config(str(tmp_path / "mine.yaml")).corruption.select
    assert select.model_dump() == {"kind": "whole_words", "rate": 0.1, "column": "words", "draw": "tokens"}
