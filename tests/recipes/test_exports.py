"""Every recipe to every target that fits, each compared with the model it was made from (Job.compared)."""

import json
from pathlib import Path

import pytest
import torch

from data_prep.errors import InputError, SpanwrightError
from pipeline.config import RunConfig
from pipeline.export.native import load_native
from pipeline.export.run import Job, export_target
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data
from tests.recipes.small import RECIPES, small

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
    return Job(config, weights, data)


def pooling_of(recipe: str) -> tuple[str, ...]:
    return () if recipe in POOLED else ("export.pooling=mean",)


def check_figures(figures: dict) -> None:
    (what,) = {"logits", "states", "vectors"} & figures.keys()
    assert figures[what]["sequences"] > 1
    # In float64, but for onnxruntime's float32 (logits of size about 5).
    assert figures[what]["max_abs_difference"] <= 1e-4
    assert figures["tokenizer"]["different"] == 0
    assert json.loads(json.dumps(figures)) == figures


# Tracing a decoder for onnx takes long: test_every_recipe_exports_to_every_target does.
@pytest.mark.parametrize(("recipe", "targets"), [("bart", TARGETS), ("retromae", (*TARGETS, "onnx"))])
def test_a_recipe_exports_to_every_target(recipe: str, targets: tuple[str, ...], dataset: Path, tmp_path: Path) -> None:
    options = ("export.prompts={query: 'query: '}", "export.encoder_layers=1", "export.compare_sequences=4")
    config = small(recipe, dataset, f"export.to=[{', '.join(targets)}]", *pooling_of(recipe), *options)
    job = job_of(config)
    for target in config.export.to:
        check_figures(export_target(job, target, tmp_path / target))
    assert {path.name for path in tmp_path.iterdir()} == set(config.export.to)
    assert load_native(tmp_path / "native").config == config.model


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_exports_to_every_target(recipe: str, dataset: Path, tmp_path: Path) -> None:
    to = f"export.to=[{', '.join((*TARGETS, 'onnx'))}]"
    config = small(recipe, dataset, to, *pooling_of(recipe), "export.compare_sequences=8")
    job = job_of(config)
    for target in config.export.to:
        check_figures(export_target(job, target, tmp_path / target))


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
        export_target(Job(job.config, Shifting(job.weights), job.data), target, tmp_path / target)
    assert list(tmp_path.iterdir()) == []


class Shifting(dict[str, torch.Tensor]):
    """Weights that are others each time they are read, as if a disk gave back what was never written."""

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = super().__getitem__(name)
        tensor += 0.01
        return tensor.clone()


def test_more_layers_than_there_are_is_a_mistake_before_any_training(dataset: Path) -> None:
    with pytest.raises(InputError, match=r"export\.encoder_layers \(3\) is more than model\.num_layers \(2\)"):
        small("bert", dataset, "export.encoder_layers=3")
