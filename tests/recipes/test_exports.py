"""Every recipe to every target that fits, each compared with the model it was made from (Job.compared)."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCardData
from ruamel.yaml import YAML

from data_prep.errors import InputError, SpanwrightError
from pipeline.checkpoint.format import Record
from pipeline.checkpoint.weights import CheckpointWeights, newest_checkpoint
from pipeline.config import RunConfig, save_config
from pipeline.export.compare import compare_logits
from pipeline.export.native import load_native
from pipeline.export.run import Job, export_target
from pipeline.export.starting import start_from_hf
from pipeline.objectives import build_objective
from pipeline.training.assembly import Data, open_data
from tests.processes import run_without_project
from tests.recipes.asked import check_graphs
from tests.recipes.small import RECIPES, small
from tests.recipes.test_probes import make_probes_small

POOLED = {"retromae", "dupmae", "seed_encoder", "seed_encoder_one_layer", "condenser", "cocondenser", "pmi_mask"}
TARGETS = ("hf", "encoder", "sentence-transformers", "native")


@torch.no_grad()
def job_of(config: RunConfig) -> Job:
    """Weights as after some training: none is at its first value, and the parts beside the model are there too."""
    data = open_data(config)
    objective = build_objective(config.objective, config.model, data.tokenizer.vocab_size, seed=1)
    generator = torch.Generator().manual_seed(2)
    weights = {
        name: parameter + 0.05 * torch.randn(parameter.shape, generator=generator)
        for name, parameter in objective.named_parameters()
    }
    return Job(config, weights, data, record_of(config, data))


def record_of(config: RunConfig, data: Data) -> Record:
    return Record(
        step=120,
        position=120 * config.training.global_batch,
        tokens=98_765,
        config=config.model_dump(mode="json"),
        dataset_fingerprint=data.dataset.fingerprint,
        stream_fingerprint=data.stream_fingerprint,
        tokenizer_digest=data.tokenizer.digest,
        parameters={},
        last_loss=None,
        heldout={"before": 7.25, "newest": 4.5},
        environment={"world_size": 2, "zero_stage": 2},
    )


def pooling_of(recipe: str) -> tuple[str, ...]:
    return () if recipe in POOLED else ("export.pooling=mean",)


def largest_difference(figures: dict) -> float:
    (what,) = {"logits", "states", "vectors"} & figures.keys()
    assert figures[what]["sequences"] > 1
    return figures[what]["max_abs_difference"]


def check_figures(figures: dict) -> None:
    # In float64, but for onnxruntime's float32 (logits of size about 5).
    assert largest_difference(figures) <= 1e-4
    assert figures["tokenizer"]["different"] == 0
    assert json.loads(json.dumps(figures)) == figures


# Tracing a decoder for onnx takes long: test_every_recipe_exports_to_every_target does.
@pytest.mark.parametrize(
    ("recipe", "targets"), [pytest.param("bart", TARGETS, marks=pytest.mark.long), ("retromae", (*TARGETS, "onnx"))]
)
def test_a_recipe_exports_to_every_target_and_each_card_says_how_to_load_it(
    recipe: str, targets: tuple[str, ...], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("export.prompts={query: 'query: '}", "export.encoder_layers=1", "export.compare_sequences=4")
    to = f"export.to=[{', '.join(targets)}]"
    config = small(recipe, dataset, to, *pooling_of(recipe), *options, f"run.dir={tmp_path}/mine")
    job = job_of(config)
    write_metrics(config.train_dir)
    monkeypatch.chdir(tmp_path)
    codes = []
    for target in config.export.to:
        figures = export_target(job, target, config.export_dir / target)
        check_figures(figures)
        codes.append(check_card(config.export_dir / target, figures))
    check_loading(dict(zip(config.export.to, codes, strict=True)), tmp_path)
    assert {path.name for path in config.export_dir.iterdir()} == set(config.export.to)
    assert load_native(config.export_dir / "native").config == config.model
    if "onnx" in targets:
        save_config(config)
        make_probes_small(monkeypatch)
        check_graphs(job)


def write_metrics(train_dir: Path) -> None:
    lines = [{"step": step, "loss": 7.5 - step / 100} for step in range(1, 121)]
    lines += [{"step": 0, "heldout_loss": 7.25}, {"step": 120, "heldout_loss": 4.5}]
    train_dir.mkdir(parents=True)
    (train_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def check_card(folder: Path, figures: dict) -> str:
    """The hub reads its metadata, and its numbers are the run's; the code that loads it."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    metadata = ModelCardData(**YAML(typ="safe").load(card.split("---")[1]))
    assert "spanwright" in metadata.tags
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    (what,) = {"logits", "states", "vectors"} & figures.keys()
    for said in ("98,765", "7.2500", "4.5000", f"{figures[what]['max_abs_difference']:.1e}", "![Loss", "Intended use"):
        assert said in card
    curve = (folder / "loss.svg").read_text(encoding="utf-8")
    assert curve.count("<path") > 5
    assert "held out" in curve
    return code


def check_loading(codes: dict[str, str], folder: Path) -> None:
    """The code of each card runs; but for our own layout, where none of this project's packages can be imported."""
    found: dict = {}
    exec(codes.pop("native"), found)
    assert isinstance(found["model"], torch.nn.Module)
    done = run_without_project("\n".join(codes.values()), folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_exports_to_every_target(recipe: str, dataset: Path, tmp_path: Path) -> None:
    to = f"export.to=[{', '.join((*TARGETS, 'onnx'))}]"
    config = small(recipe, dataset, to, *pooling_of(recipe), "export.compare_sequences=8")
    job = job_of(config)
    row = [config.model.architecture]
    for target in config.export.to:
        figures = export_target(job, target, tmp_path / target)
        check_figures(figures)
        row.append(f"{largest_difference(figures):.0e}".replace("0e+00", "0"))
    print(f"\n| `{recipe}` | {' | '.join(row)} |")  # the table in docs/export.md, with -s


@pytest.mark.parametrize(
    "recipe", ["condenser", "t5_span", *(pytest.param(r, marks=pytest.mark.long) for r in RECIPES)]
)
def test_sentence_transformers_is_for_recipes_that_train_a_vector(recipe: str, dataset: Path) -> None:
    to = "export.to=[sentence-transformers]"
    if recipe in POOLED:
        assert small(recipe, dataset, to).pooling == "cls"
    else:
        with pytest.raises(InputError, match=r"export\.to.*trains no vector.*export\.pooling=mean"):
            small(recipe, dataset, to)
    assert small(recipe, dataset, to, "export.pooling=mean").pooling == "mean"


def test_what_no_stock_class_has_is_exported_in_our_own_layout(dataset: Path, tmp_path: Path) -> None:
    config = small("t5_span", dataset, "model.positions=rope", "export.to=[native]")
    check_figures(export_target(job_of(config), "native", tmp_path / "native"))
    with pytest.raises(InputError, match=r"has no positions rope: set export\.to=\[native\]"):
        small("t5_span", dataset, "model.positions=rope", "export.to=[encoder]")


@pytest.mark.parametrize("target", TARGETS)
def test_an_export_that_is_not_the_trained_model_fails_and_leaves_nothing(
    target: str, dataset: Path, tmp_path: Path
) -> None:
    job = job_of(small("retromae", dataset, f"export.to=[{target}]"))
    with pytest.raises(SpanwrightError, match=rf"export to {target}: the exported model is not the trained one"):
        export_target(dataclasses.replace(job, weights=Shifting(job.weights)), target, tmp_path / target)
    assert list(tmp_path.iterdir()) == []


class Shifting(dict[str, torch.Tensor]):
    """Weights that are others each time they are read, as if a disk gave back what was never written."""

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = super().__getitem__(name)
        tensor += 0.01
        return tensor.clone()


@pytest.mark.parametrize("recipe", [pytest.param("t5_span", marks=pytest.mark.long), "retromae"])
def test_a_run_begins_with_the_logits_of_a_hugging_face_folder(recipe: str, dataset: Path, tmp_path: Path) -> None:
    job = job_of(small(recipe, dataset))
    folder = tmp_path / "hf"
    export_target(job, "hf", folder)
    new = small(recipe, dataset, f"run.dir={tmp_path}/new", "run.seed=5")
    found = start_from_hf(new, folder)
    assert (found.num_copied, found.num_averaged) == (1000, 0)
    checkpoint = newest_checkpoint(new.checkpoints)
    weights = CheckpointWeights(checkpoint)
    assert (weights.record.step, weights.record.origin) == (0, f"hf:{folder}")
    figures = compare_logits(folder, weights, new.model, job.views, max_sequences=4)
    assert figures["max_abs_difference"] < 1e-12
    beside = {name for name in weights if not name.startswith("model.")}
    assert beside == ({name for name in job.weights if not name.startswith("model.")})
    first = dict(build_objective(new.objective, new.model, 1000, seed=5).named_parameters())
    assert all(torch.equal(weights[name], first[name]) for name in beside), "what is not there begins as in any new run"


def test_more_layers_than_there_are_is_a_mistake_before_any_training(dataset: Path) -> None:
    with pytest.raises(InputError, match=r"export\.encoder_layers \(3\) is more than model\.num_layers \(2\)"):
        small("bert", dataset, "export.encoder_layers=3")
