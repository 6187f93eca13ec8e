"""Which changes of a config a run survives, and how the others are refused."""

import copy
from typing import Any

import pytest

from data_prep.errors import InputError
from pipeline.checkpoint.compatible import check_continues
from pipeline.training.config import TrainingConfig


def config(**training: Any) -> dict[str, Any]:
    fields = {"steps": 100, "global_batch": 8, "micro_batch": 2, "learning_rate": 1e-3, **training}
    return {
        "model": {"d_model": 64, "num_layers": 2},
        "stream": {"window": 568},
        "corruption": {"select": {"kind": "t5_spans", "noise_density": 0.15}},
        "objective": {"kind": "denoising"},
        "training": TrainingConfig.model_validate(fields).model_dump(mode="json"),
        "checkpoint": {"save_every": 10},
        "run": {"dir": "/somewhere", "seed": 1},
    }


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    new = copy.deepcopy(base)
    *sections, field = path.split(".")
    place = new
    for section in sections:
        place = place[section]
    place[field] = value
    return new


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.ranks", 4), ("training.micro_batch", 1), ("training.zero_stage", 3), ("training.log_every", 1),
        ("training.activation_checkpointing", True), ("training.evaluate_every", 3), ("training.loader_workers", 4),
        ("training.threads_per_rank", 2), ("training.stop_after", 60.0), ("checkpoint.save_every", 3),
        ("run.dir", "/elsewhere"), ("training.masking", "device"),
    ],
)  # fmt: skip
def test_how_a_run_is_computed_and_watched_may_change(path, value):
    check_continues(config(), changed(config(), path, value), step=50)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.d_model", 128), ("stream.window", 512), ("corruption.select.noise_density", 0.3), ("run.seed", 2),
        ("objective.kind", "other"), ("training.global_batch", 16), ("training.precision", "fp32"),
        ("training.weight_decay", 0.1), ("training.betas", [0.9, 0.99]), ("training.eps", 1e-6),
        ("training.max_grad_norm", 0.5), ("training.optimizer", "rms_adamw"),
    ],
)  # fmt: skip
def test_what_a_run_computes_may_not_change_and_both_values_are_shown(path, value):
    base = config()
    old: Any = base
    for key in path.split("."):
        old = old[key]
    with pytest.raises(InputError) as caught:
        check_continues(base, changed(base, path, value), step=1)
    assert str(caught.value).startswith(f"{path} was {old!r} when this run was trained and is {value!r} now")


def test_a_checkpoint_from_before_there_were_optimizers_was_trained_with_adamw():
    old = config()
    del old["training"]["optimizer"]
    check_continues(old, config(), step=50)
    with pytest.raises(InputError, match=r"training.optimizer was 'adamw' when this run was trained"):
        check_continues(old, config(optimizer="rms_adamw"), step=50)


def test_a_schedule_that_changes_what_is_already_done_is_refused_with_both_values():
    with pytest.raises(InputError, match=r"training.steps from 100 to 200 changes the learning rate of step 1, "):
        check_continues(config(), config(steps=200), step=50)
    with pytest.raises(InputError, match=r"training.learning_rate from 0\.001 to 0\.002"):
        check_continues(config(), config(learning_rate=2e-3), step=50)


def test_a_schedule_that_only_changes_the_future_may_change():
    wsd = {"schedule": {"kind": "wsd", "decay_steps": 20}}
    check_continues(config(**wsd), config(steps=200, **wsd), step=80)
    with pytest.raises(InputError, match=r"changes the learning rate of step 81"):
        check_continues(config(**wsd), config(steps=200, **wsd), step=90)
    cosine = {"schedule": {"kind": "cosine", "decay_steps": 60}}
    check_continues(config(**cosine), config(steps=200, **cosine), step=100)
    check_continues(config(), config(learning_rate=2e-3), step=0)


def test_a_run_cannot_become_shorter_than_it_is():
    with pytest.raises(InputError, match=r"training.steps is 40 and this run has already done 50 steps"):
        check_continues(config(), config(steps=40), step=50)


def test_the_batch_of_a_phase_may_not_change_but_how_it_is_read_may():
    base = config()
    phase = {"at_step": 60, "stream": {}, "corruption": {}, "training": {"global_batch": 16, "micro_batch": 4}}
    base["phases"] = [phase]
    check_continues(base, {**base, "phases": [{**phase, "training": {"global_batch": 16, "micro_batch": 2}}]}, step=50)
    older = {**base, "phases": [{"at_step": 60, "stream": {}, "corruption": {}}]}  # from before phases had batches
    check_continues(older, {**older, "phases": [{**older["phases"][0], "training": {}}]}, step=50)
    with pytest.raises(InputError, match=r"^phases was "):
        check_continues(base, {**base, "phases": [{**phase, "training": {"global_batch": 32}}]}, step=50)
