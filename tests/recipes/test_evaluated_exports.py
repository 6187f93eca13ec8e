"""Exports are asked by the libraries that they were made for, and say what the trained model says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import InputError
from pipeline.config import save_config
from pipeline.evaluation.exported import evaluate_export
from pipeline.evaluation.figures import Figures
from pipeline.evaluation.probes import measure
from pipeline.evaluation.subject import Options, RunParts, Subject
from pipeline.evaluation.texts import Texts
from pipeline.export.huggingface import export_hf
from pipeline.export.run import Job, export_target
from tests.recipes.small import small
from tests.recipes.test_exports import job_of
from tests.recipes.test_probes import make_probes_small

MODERNBERT = (
    "model={architecture: modernbert, d_model: 64, d_kv: 16, d_ff: 128, num_layers: 2, num_heads: 4, "
    "positions: {kind: rope, base: 1000, local_base: 100}, local_attention: 16}"
)
OF_GRAPHS = ("infilling", "isotropy", "state_rank")
PROBES = (*OF_GRAPHS, "layers", "tev")


@pytest.fixture(autouse=True)
def _small_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    make_probes_small(monkeypatch)


def saved_job(recipe: str, dataset: Path, folder: Path, *overrides: str) -> Job:
    """A job in a run's folder with its config, as an export finds it."""
    config = small(recipe, dataset, f"run.dir={folder}/mine", *overrides)
    save_config(config)
    return job_of(config)


def asked(job: Job, probes: tuple[str, ...]) -> dict[str, Figures]:
    """What the trained model says itself, through our own kernels."""
    run = RunParts(job.config, job.data, job.weights, 1, 1)
    subject = Subject.of_run(run, Texts(job.data.dataset, job.data.tokenizer, job.data.dataset.fingerprint), Options())
    return {name: measure(name, subject) for name in probes}


def check_same(own: Mapping[str, Figures], found: Mapping[str, Any]) -> None:
    assert own.keys() == found.keys()
    for name, figures in own.items():
        assert not isinstance(found[name], str), found[name]
        for ours, theirs in zip(figures_of(figures), figures_of(found[name]), strict=True):
            # float32 in other kernels; of weights that are no trained model's, so that losses are about 10
            assert theirs == pytest.approx(ours, rel=5e-3, abs=5e-3), name


def figures_of(figures: Figures) -> list[float]:
    """All but which layer is the best, where near ones may change places."""
    everything = [figures.metrics, *(own for named in figures.groups.values() for own in named.values())]
    return [figure.value for own in everything for name, figure in own.items() if name != "recommended_layer"]


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


@pytest.mark.parametrize(
    "recipe", ["retromae", *(pytest.param(r, marks=pytest.mark.long) for r in ("bart", "t5_span"))]
)
def test_onnx_graphs_say_what_their_run_says_and_what_they_cannot(recipe: str, dataset: Path, tmp_path: Path) -> None:
    job = saved_job(recipe, dataset, tmp_path, "export.to=[onnx]", "export.compare_sequences=2")
    folder = job.config.export_dir / "onnx"
    export_target(job, "onnx", folder)
    _, found = evaluate_export(folder, OF_GRAPHS)
    check_same(asked(job, OF_GRAPHS), dict(found))
    for probe, why in (("tev", "no table of embeddings"), ("layers", "no layer but the last")):
        with pytest.raises(InputError, match=f"{folder}: the graphs of an onnx export give {why}: ask the hf export"):
            list(evaluate_export(folder, [probe])[1])
    graph = next(folder.glob("*model.onnx"))
    graph.write_bytes(graph.read_bytes()[:100])
    with pytest.raises(InputError, match=r"onnxruntime cannot load it: .*; export it again"):
        evaluate_export(folder, ["state_rank"])


def test_an_export_outside_of_its_run_is_asked_about_other_text(dataset: Path, tmp_path: Path) -> None:
    job = saved_job("mpnet", dataset, tmp_path)
    folder = export_hf(*job.source(), tmp_path / "elsewhere" / "deeper" / "copied")
    with pytest.raises(
        InputError, match="lies in no run whose held-out text could be asked about: give some with --data"
    ):
        evaluate_export(folder, ["state_rank"])
    found = dict(evaluate_export(folder, ["state_rank", "infilling"], data=dataset)[1])
    assert found["state_rank"].metrics == asked(job, ("state_rank",))["state_rank"].metrics
