"""Exports are asked by the libraries that they were made for, and say what the trained model says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.errors import InputError
from pipeline.config import save_config
from pipeline.evaluation.exported import evaluate_export
from pipeline.export.huggingface import export_hf
from pipeline.export.run import Job, export_target
from tests.recipes.asked import asked, check_graphs, check_same
from tests.recipes.small import small
from tests.recipes.test_exports import job_of
from tests.recipes.test_probes import make_probes_small

MODERNBERT = (
    "model={architecture: modernbert, d_model: 64, d_kv: 16, d_ff: 128, num_layers: 2, num_heads: 4, "
    "positions: {kind: rope, base: 1000, local_base: 100}, local_attention: 16}"
)
PROBES = ("infilling", "isotropy", "layers", "state_rank", "tev")


@pytest.fixture(autouse=True)
def _small_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    make_probes_small(monkeypatch)


def saved_job(recipe: str, dataset: Path, folder: Path, *overrides: str) -> Job:
    """A job in a run's folder with its config, as an export finds it."""
    config = small(recipe, dataset, f"run.dir={folder}/mine", *overrides)
    save_config(config)
    return job_of(config)


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("mpnet", ()),
        ("bert", (MODERNBERT,)),
        pytest.param("retromae", (), marks=pytest.mark.long),
        pytest.param("bart", (), marks=pytest.mark.long),
        pytest.param("t5_span", (), marks=pytest.mark.long),
    ],
)
def test_an_export_says_what_its_run_says(
    recipe: str, overrides: tuple[str, ...], dataset: Path, tmp_path: Path
) -> None:
    job = saved_job(recipe, dataset, tmp_path, *overrides)
    folder = export_hf(*job.source(), job.config.export_dir / "hf")
    place, found = evaluate_export(folder, PROBES)
    check_same(asked(job, PROBES), dict(found))
    assert json.loads(place.path.read_text(encoding="utf-8"))["probes"].keys() == set(PROBES)


@pytest.mark.long  # tracing takes its time: test_exports.py asks the graphs that it makes anyway
@pytest.mark.parametrize("recipe", ["bart", "t5_span"])
def test_onnx_graphs_say_what_their_run_says_and_what_they_cannot(recipe: str, dataset: Path, tmp_path: Path) -> None:
    job = saved_job(recipe, dataset, tmp_path, "export.to=[onnx]", "export.compare_sequences=2")
    export_target(job, "onnx", job.config.export_dir / "onnx")
    check_graphs(job)


def test_an_export_outside_of_its_run_is_asked_about_other_text(dataset: Path, tmp_path: Path) -> None:
    job = saved_job("mpnet", dataset, tmp_path)  # of 160 places, so that texts are shorter than the usual ones
    folder = export_hf(*job.source(), tmp_path / "elsewhere" / "deeper" / "copied")
    with pytest.raises(
        InputError, match="lies in no run whose held-out text could be asked about: give some with --data"
    ):
        evaluate_export(folder, ["state_rank"])
    found = dict(evaluate_export(folder, ["state_rank", "infilling"], data=dataset)[1])
    assert found["state_rank"].settings["documents"] == found["infilling"].settings["documents"] > 0
    assert found["infilling"].settings["fills"] == "masks"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("config.json", lambda whole: whole[:40], r"config\.json: cannot be read: .*; export it again"),
        ("config.json", lambda _: b"[]", r"config\.json: names no class of transformers"),
        ("model.safetensors", lambda whole: whole[:-100], "MPNetForMaskedLM cannot be loaded: .*; export it again"),
        ("spiece.model", lambda whole: whole[:40], r"spiece\.model: not a SentencePiece model"),
    ],
)
def test_a_damaged_export_is_one_message_that_names_it(
    name: str, change: Callable[[bytes], bytes], said: str, dataset: Path, tmp_path: Path
) -> None:
    job = saved_job("mpnet", dataset, tmp_path)
    folder = export_hf(*job.source(), job.config.export_dir / "hf")
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(InputError, match=said):
        evaluate_export(folder, ["state_rank"])
