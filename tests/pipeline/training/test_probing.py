"""Probes within training change nothing of it, and their figures are those of the same checkpoint asked afterwards.

What such a run exports is compared with its checkpoint, whatever ranks and stage of ZeRO wrote that.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.checkpoint.load import step_folder
from pipeline.checkpoint.weights import CheckpointWeights
from pipeline.config import load_run
from pipeline.evaluation.run import evaluate_run
from pipeline.export.run import export_run

from .conftest import RunMaker, metrics

PROBES = ["tev", "infilling", "layers", "heldout"]
LAUNCH = Callable[..., subprocess.CompletedProcess[str]]


def curve(run_dir: Path) -> list[tuple[int, str]]:
    return [(record["step"], record["loss_hex"]) for record in metrics(run_dir) if "loss_hex" in record]


@pytest.mark.long
@pytest.mark.parametrize(("ranks", "zero_stage"), [(1, 2), (2, 3)])
def test_training_with_probes_has_the_losses_and_weights_of_training_without(
    ranks: int, zero_stage: int, make_run: RunMaker, launch: LAUNCH
) -> None:
    fields = {"steps": 6, "ranks": ranks, "zero_stage": zero_stage, "micro_batch": 2}
    plain, probed = make_run(**fields), make_run(**fields, evaluate={"probes": PROBES, "every": 4})
    for run_dir in (plain, probed):
        done = launch(run_dir, ranks)
        assert done.returncode == 0, done.stdout + done.stderr
    assert curve(plain) == curve(probed)
    results = [json.loads((run_dir / "train" / "result.json").read_text()) for run_dir in (plain, probed)]
    assert results[0]["weight_hash"] == results[1]["weight_hash"]
    written = {step: json.loads((probed / "evaluation" / f"{step}.json").read_text()) for step in (4, 6)}
    assert all(found["probes"].keys() == set(PROBES) for found in written.values())
    assert written[6]["weights"] == results[1]["weight_hash"]
    assert written[6]["probes"]["heldout"]["metrics"]["loss"]["value"] == results[1]["heldout_loss_after"]
    assert written[4]["probes"]["tev"] != written[6]["probes"]["tev"]
    logged = {line["step"]: line["statistics"] for line in metrics(probed) if "statistics" in line}
    for step in (4, 6):
        found = written[step]["probes"]["tev"]["metrics"]
        expected = {f"embedding/{name}": figure["value"] for name, figure in found.items()}
        assert {name: logged[step][name] for name in expected} == pytest.approx(expected, rel=1e-12)  # sums of parts
    list(evaluate_run(load_run(probed), PROBES)[1])
    asked = json.loads((probed / "evaluation" / "6.json").read_text())
    assert asked["probes"]["heldout"] == written[6]["probes"]["heldout"]
    assert asked["probes"]["tev"] == written[6]["probes"]["tev"]
    assert (
        CheckpointWeights(step_folder(probed / "train" / "checkpoints", 6)).record.environment["zero_stage"]
        == zero_stage
    )
    [(target, figures)] = export_run(load_run(probed))
    assert (target, figures["checkpoint"], figures["skipped"]) == ("hf", "step-00000006", [])
    assert figures["logits"]["max_abs_difference"] < 1e-12


def test_an_unknown_probe_is_refused_before_anything_is_trained(make_run: RunMaker) -> None:
    with pytest.raises(ValidationError, match=r"there is no probe 'tve'. Did you mean 'tev'"):
        make_run(evaluate={"probes": ["tve"]})
    with pytest.raises(ValidationError, match=r"there is no probe 'heldut'. Did you mean 'heldout'"):
        make_run(sections={"evaluation": {"probes": ["heldut"]}})
