"""`spanwright status`: runs with stage, step, tokens/s, loss, time left, newest checkpoint, restarts, warnings."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import InputError, SpanwrightError
from launch.jobs import job_states
from launch.nodes.attempts import read_attempts
from launch.stages import STAGES, describe_state
from launch.terminal import count_of
from pipeline.config import RunConfig, load_run
from pipeline.config_files import RUN_CONFIG_NAME

RUNS = Path("runs")
_FOLLOW_SECONDS = 1.0
_SILENT_SECONDS = 60.0
_OVER = ("ENDED", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "SUCCEEDED", "STOPPED", "Complete", "Failed")


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands."""

    run: str
    stage: str
    """The first stage that is not done; `done` after the last."""
    step: int
    steps: int
    tokens_per_second: float | None
    loss: float | None
    seconds_left: float | None
    checkpoint: int | None
    """Step of the newest checkpoint."""
    restarts: int
    jobs: dict[str, str]
    warnings: list[str]
    logs: str


def find_runs(run: Path | None) -> list[Path]:
    """The folder given, or the run folders below ./runs."""
    if run is not None:
        if not (run / RUN_CONFIG_NAME).is_file():
            raise InputError(f"{run}: not a run folder: it has no {RUN_CONFIG_NAME}.")
        return [run]
    return sorted(path.parent for path in RUNS.glob(f"*/{RUN_CONFIG_NAME}"))


def status_of(run_dir: Path) -> RunStatus:
    """What the files of a run, and the scheduler it was submitted to, say."""
    from pipeline.checkpoint.load import saved_steps

    config = load_run(run_dir)
    last = _last_steps(config)
    newest = last[-1] if last else {}
    step = newest.get("step", 0)
    seconds = sum(record["step_seconds"] for record in last) / len(last) if last else None
    attempts = read_attempts(config.train_dir)
    stage = next((name for name in STAGES if describe_state(config, name) != "done"), "done")
    return RunStatus(
        run=str(run_dir),
        stage=stage,
        step=step,
        steps=config.training.steps,
        tokens_per_second=newest.get("tokens_per_second"),
        loss=newest.get("loss"),
        seconds_left=seconds * (config.training.steps - step) if seconds is not None else None,
        checkpoint=max(saved_steps(config.checkpoints), default=None),
        restarts=max(0, sum("started" in line for line in attempts) - 1),
        jobs=_jobs(run_dir),
        warnings=list(_warnings(config, attempts[-1] if attempts else {})) if config.train_dir.is_dir() else [],
        logs=str(log_files(run_dir)[-1]) if log_files(run_dir) else "-",
    )


def status_lines(one: RunStatus) -> list[str]:
    """A run for a person: where it is, what it was submitted as, what is wrong."""
    from pipeline.training.reports.progress import format_duration

    figures = [
        one.stage,
        f"step {one.step:,}/{one.steps:,}",
        *([f"loss {one.loss:.4f}"] if one.loss is not None else []),
        *([f"{one.tokens_per_second:,.0f} tokens/s"] if one.tokens_per_second else []),
        *([f"{format_duration(one.seconds_left)} left"] if one.seconds_left is not None else []),
        *([f"checkpoint {one.checkpoint:,}"] if one.checkpoint is not None else []),
        *([count_of(one.restarts, "restart")] if one.restarts else []),
    ]
    jobs = ", ".join(f"{name} {state}" for name, state in one.jobs.items())
    return [
        f"{one.run}  {'  '.join(figures)}",
        *([f"  jobs: {jobs}"] if jobs else []),
        *(f"  warning: {warning}" for warning in one.warnings),
        f"  logs: {one.logs}",
    ]


def as_json(statuses: list[RunStatus]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [asdict(one) for one in statuses]


def log_files(run_dir: Path, rank: int | None = None) -> list[Path]:
    """The logs of a run's jobs, or of one rank, oldest first. Without jobs: rank 0's."""
    found = list((run_dir / "logs").glob("*.log")) if rank is None else []
    if not found:
        found = [path for path in (run_dir / "train" / "logs").glob(f"rank-{rank or 0}.log") if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _warnings(config: RunConfig, newest: dict[str, Any]) -> Iterator[str]:
    """What is wrong now; how the newest attempt failed; samples left out for the loss they gave (NaN, explosions)."""
    from pipeline.checkpoint.load import newest_record
    from pipeline.training.reports.health import run_warnings

    yield from run_warnings(config.train_dir, config.checkpoints).values()
    if newest.get("outcome") == "failed":
        reason = (newest.get("reason") or "see the log").splitlines()[0]
        yield f"attempt {newest['attempt']} failed after step {newest['step']}: {reason}"
    record = newest_record(config.checkpoints)
    for part in record.skipped if record else ():
        yield f"samples {part.start} to {part.stop - 1} were left out at step {part.step}: {part.reason}"
    for part in record.skipped_updates if record else ():
        yield f"step {part.step + 1}, on samples {part.start} to {part.stop - 1}, made no update: {part.reason}"


def _jobs(run_dir: Path) -> dict[str, str]:
    try:
        return job_states(run_dir)
    except SpanwrightError as error:  # the rest is worth showing all the same
        return {"unknown": str(error).splitlines()[0]}


def _last_steps(config: RunConfig, number: int = 20) -> list[dict[str, Any]]:
    from pipeline.training.reports.metrics import read_metrics

    records = [record for record in read_metrics(config.train_dir / "metrics.jsonl") if "step_seconds" in record]
    return records[-number:]


def follow_logs(run_dir: Path, rank: int | None, follow: bool) -> Iterator[str]:
    """What the logs hold, oldest file first; with `follow`, what is added to any of them until the jobs have ended."""
    offsets: dict[Path, int] = {}
    while True:
        ended = not follow or not _is_running(run_dir)
        for path in log_files(run_dir, rank):
            with open(path, "rb") as file:
                file.seek(offsets.get(path, 0))
                text = file.read()
            offsets[path] = offsets.get(path, 0) + len(text)
            if text:
                yield text.decode("utf-8", errors="replace")
        if ended:
            return
        time.sleep(_FOLLOW_SECONDS)


def _is_running(run_dir: Path) -> bool:
    """Whether any submitted job may still write; without jobs: whether the newest beat is young."""
    states = job_states(run_dir)
    if states:
        return any(state not in _OVER for state in states.values())
    beats = list((run_dir / "train" / "beats").glob("rank-*.json"))
    return any(time.time() - path.stat().st_mtime < _SILENT_SECONDS for path in beats)
