"""submit, status, logs and cancel on this machine; what a preflight refuses."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import InputError, SpanwrightError
from launch.clusters.load import fitted, load_cluster
from launch.clusters.preflight import preflight, token_problem, trial_of, try_one_step
from launch.jobs import cancel_jobs, job_states
from launch.submit import process_id
from pipeline.config import RunConfig, load_config, load_run, save_config
from tests.launch.conftest import paused, read_json, spanwright, steps_done
from tests.processes import is_told_to_stop, wait_for


def test_a_run_in_the_background_is_cancelled_saves_and_continues_to_the_undisturbed_weights(
    prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    arguments = [
        "submit", str(prepared / "small.yaml"), f"data.paths=[{prepared / 'corpus.jsonl'}]",
        f"data.dir={prepared / 'data'}", "run.dir=runs/mine", "--cluster", "local", "cluster.ranks_per_node=2",
    ]  # fmt: skip
    run_dir = tmp_path / "runs" / "mine"
    assert "trial step on one rank" in spanwright(tmp_path, *arguments)
    wait_for(lambda: steps_done(run_dir) >= 3)
    with paused(run_dir) as rank:
        assert "run RUNNING" in spanwright(tmp_path, "status")
        spanwright(tmp_path, "cancel", "runs/mine")
        wait_for(lambda: is_told_to_stop(rank))
    wait_for(lambda: job_states(run_dir) == {"run": "ENDED"})
    stopped = steps_done(run_dir)
    assert "stopped after step" in spanwright(tmp_path, "logs", "runs/mine")
    spanwright(tmp_path, *arguments, "--no-trial")
    assert "done" in spanwright(tmp_path, "logs", "runs/mine", "--follow")
    [status] = json.loads(spanwright(tmp_path, "status", "runs/mine", "--json"))
    assert (status["stage"], status["step"], status["restarts"]) == ("done", undisturbed["step"], 1)
    assert 3 <= stopped < undisturbed["step"]
    assert read_json(run_dir / "train" / "result.json")["weight_hash"] == undisturbed["weight_hash"]


def config_for(cluster_name: str, *overrides: str) -> tuple[RunConfig, Any]:
    cluster = load_cluster(cluster_name, ["gpus_per_node=0"])
    return fitted(load_config("t5_span", overrides), cluster), cluster


def test_a_preflight_names_every_problem_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "file").touch()
    config, cluster = config_for(
        "slurm", f"data.paths=[{tmp_path}/nowhere, s3://no-such-bucket-of-ours/x]", f"run.dir={tmp_path}/file/run"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    cluster = cluster.model_copy(update={"container": "/nowhere.sif"})
    with pytest.raises(InputError) as caught:
        preflight(config, cluster, trial=False)
    told = str(caught.value).splitlines()
    assert len(told) == 5, told
    for part in ("has no sbatch", "/nowhere.sif: no such file", "file is in the way", "/nowhere: no such", "s3://"):
        assert any(part in line for line in told), part


def test_a_ray_cluster_that_cannot_be_reached_is_a_problem_with_its_address() -> None:
    problem = token_problem("http://127.0.0.1:9", insecure=False)
    assert problem == "cluster.address: http://127.0.0.1:9 cannot be reached: [Errno 111] Connection refused"


def test_a_trial_step_is_left_out_without_data_and_refuses_a_broken_installation(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config, _ = config_for("local", "data.paths=[/dev/null]", f"run.dir={tmp_path / 'run'}")
    try_one_step(config)
    assert "not prepared yet" in capfd.readouterr().out
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "safetensors.py").write_text("raise RuntimeError('a broken library')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    config, _ = config_for(
        "local", "data.paths=[/dev/null]", f"run.dir={tmp_path / 'run'}", f"data.dir={prepared / 'data'}"
    )
    with pytest.raises(SpanwrightError, match="the trial step failed"):
        try_one_step(config)
    assert "a broken library" in capfd.readouterr().err
    assert not (tmp_path / "run" / "preflight").exists()


def test_a_trial_step_is_a_config_that_can_be_run_whatever_changes_later(tmp_path: Path) -> None:
    later = (
        "phases=[{at_step: 30, training: {global_batch: 64}}]",
        "training.random_ltd={start_share: 0.5, full_at_step: 20}",
        "training.groups={encoder: {parameters: ['model.encoder.*'], frozen_steps: 10, schedule: {warmup_steps: 5}}}",
    )
    config, _ = config_for("local", "data.paths=[/dev/null]", f"run.dir={tmp_path / 'run'}", *later)
    save_config(trial_of(config, tmp_path / "trial"))
    assert load_run(tmp_path / "trial").training.groups["encoder"].parameters == ("model.encoder.*",)


def test_jobs_on_this_machine_are_told_from_strangers_with_their_number(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as ours:
        record = {"kind": "local", "submitted": "", "jobs": {"run": process_id(ours.pid)}}
        (tmp_path / "submission.json").write_text(json.dumps(record), encoding="utf-8")
        assert job_states(tmp_path) == {"run": "RUNNING"}
        assert cancel_jobs(tmp_path) == ["run"]
        assert ours.wait(timeout=120) != 0
    assert job_states(tmp_path) == {"run": "ENDED"}
    record["jobs"]["run"] = f"{os.getpid()}-1"  # our number, another start: it must not be touched
    (tmp_path / "submission.json").write_text(json.dumps(record), encoding="utf-8")
    assert job_states(tmp_path) == {"run": "ENDED"}
    cancel_jobs(tmp_path)


@pytest.mark.parametrize("job", ["1; reboot", "--all", ""])
def test_a_job_id_that_is_none_is_refused(job: str, tmp_path: Path) -> None:
    record = {"kind": "slurm", "submitted": "", "jobs": {"train": job}}
    (tmp_path / "submission.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match="not the id of a job"):
        job_states(tmp_path)


def test_cancelling_what_was_never_submitted_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was submitted"):
        cancel_jobs(tmp_path)
