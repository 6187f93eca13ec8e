"""Held-out loss by source: the groups are parts of the whole that training measures."""

import math
from pathlib import Path

import pytest
import torch

from pipeline.checkpoint.origin import take_tensors
from pipeline.config import RunConfig
from pipeline.evaluation import by_group
from pipeline.evaluation.by_group import Sums, heldout_by_group, largest_groups, source_of
from pipeline.objectives import build_objective
from pipeline.training.assembly import Data, open_data
from tests.recipes.small import RECIPES, heldout_loss, small


def trained(recipe: str, dataset: Path, run_dir: Path) -> tuple[RunConfig, Data, torch.nn.Module]:
    """A run with a checkpoint of first weights."""
    config = small(recipe, dataset, f"run.dir={run_dir}", "training.heldout_samples=20")
    data = open_data(config)
    objective = build_objective(config.objective, config.model, data.tokenizer.vocab_size, seed=3)
    weights = {name: parameter.detach() for name, parameter in objective.named_parameters()}
    take_tensors(config.checkpoints, weights, {}, config.model_dump(mode="json"), data.fingerprints, "a test")
    return config, data, objective


@pytest.mark.parametrize("recipe", ["t5_span", "retromae"])
def test_the_sources_add_up_to_the_held_out_loss_of_training(
    recipe: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The held-out documents of this corpus lie in one folder: each is a source of its own here.
    monkeypatch.setattr(by_group, "source_of", lambda document_id: document_id)
    _, data, objective = trained(recipe, dataset, tmp_path)
    found = heldout_by_group(objective.eval(), data, most=12)
    groups = found.groups
    (everything,) = groups["all"].values()
    # float32 sums over other micro-batches
    assert everything["loss"] == pytest.approx(heldout_loss(objective, data), rel=1e-5)
    sources = groups["source"].values()
    assert len(sources) > 1
    assert len(found.samples) == 20
    assert sum(figures["labels"] for figures in sources) == everything["labels"]
    if recipe == "t5_span":  # one term: the mean over labels of the groups' means
        total = sum(figures["loss"] * figures["labels"] for figures in sources)
        assert total / everything["labels"] == pytest.approx(everything["loss"], rel=1e-6)
        assert all(0.5 < figures["bits_per_byte"] < 30 for figures in sources)
    else:
        assert everything["bits_per_byte"] is None, "of two terms"


def test_each_denoiser_of_a_mixture_has_a_loss_of_its_own(dataset: Path, tmp_path: Path) -> None:
    config, data, objective = trained("ul2", dataset, tmp_path)
    found = heldout_by_group(objective.eval(), data, most=12)
    (everything,) = found.groups["all"].values()
    parts = found.groups["part"]
    assert sum(figures["labels"] for figures in parts.values()) == everything["labels"]
    names = [f"{number}: {part.title}" for number, part in enumerate(config.corruption.mixture)]
    assert names[0] == "0: t5_spans noise_density=0.15 mean_span_length=3"
    assert 1 < len(parts) <= len(names)
    assert parts.keys() <= set(names)


def test_the_smaller_groups_are_told_together() -> None:
    groups = {name: Sums() for name in ("small", "large", "smaller", "without labels")}
    for name, loss, count, num_bytes in (("small", 6.0, 3, 9), ("large", 40.0, 10, 20), ("smaller", 5.0, 2, 6)):
        groups[name].add({"denoising": (torch.tensor(loss), count)}, num_bytes)
    found = largest_groups(groups, most=1)
    assert list(found) == ["large", "others"]
    assert found["large"] == {"loss": 4.0, "labels": 10, "bits_per_byte": 40.0 / math.log(2) / 20}
    assert found["others"] == {"loss": 11.0 / 5, "labels": 5, "bits_per_byte": 11.0 / math.log(2) / 15}
    assert list(largest_groups(groups, most=3)) == ["large", "small", "smaller"]


def test_bits_per_byte_are_the_loss_over_the_bytes_that_the_labels_stand_for(dataset: Path, tmp_path: Path) -> None:
    _, data, objective = trained("t5_span", dataset, tmp_path)
    assert data.heldout is not None
    num_bytes = 0
    for position in range(20):
        labels = data.heldout.maker.apply([data.heldout.source.sample(position)]).views["decoder"].labels
        num_bytes += len(data.tokenizer.decode(labels[labels >= 0]).encode())
    (everything,) = heldout_by_group(objective.eval(), data, most=1).groups["all"].values()
    bits = everything["loss"] * everything["labels"] / math.log(2)
    assert everything["bits_per_byte"] == pytest.approx(bits / num_bytes, rel=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_tells_its_groups(recipe: str, dataset: Path, tmp_path: Path) -> None:
    _, data, objective = trained(recipe, dataset, tmp_path)
    groups = heldout_by_group(objective.eval(), data, most=3).groups
    assert groups == {} if recipe in ("rts", "c_rts") else groups["all"]["all"]["labels"] > 0


@pytest.mark.parametrize(
    ("document", "source"),
    [
        ("py.jsonl:334389", "py.jsonl"),
        ("json/decoder.py", "json"),
        ("a/b/c.txt", "a/b"),
        ("lone.txt", "(top folder)"),
        ("a:b", "(top folder)"),
    ],
)
def test_a_documents_source_is_its_file_of_records_or_its_folder(document: str, source: str) -> None:
    assert source_of(document) == source
