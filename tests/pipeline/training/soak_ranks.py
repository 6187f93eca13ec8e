"""A run on two ranks that are killed at random moments, again and again: `soak_ranks.py RUN_DIR KILLS SEED`.

This process has everything imported and forks the ranks of each start, so that a start costs no imports. Kill number n
of N comes some moments after step n * steps / (N + 1): one rank gets SIGKILL, the other goes on without it for a moment
and is then killed too, as the launcher does it. After the last the run goes on to its end. Prints a JSON report.
"""

import dataclasses
import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import deepspeed  # noqa: F401 - so that no rank has to
import torch.utils.tensorboard  # noqa: F401

from pipeline.checkpoint.load import newest_valid
from pipeline.config import load_run
from pipeline.training.reports.metrics import read_metrics
from pipeline.training.run import RESULT, train_rank

RANKS = 2


@dataclasses.dataclass
class Report:
    """What happened; `wrong` must be empty."""

    kills: int = 0
    inside_a_save: int = 0
    resumed: list[int] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)


def fork_ranks(run_dir: Path) -> list[int]:
    """Start the ranks of the run; their process ids."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [fork_rank(run_dir, {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(RANKS)]


def fork_rank(run_dir: Path, environment: dict[str, str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(environment)
        log = os.open(run_dir / f"rank-{environment['RANK']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        train_rank(run_dir, sys.stdout)
        code = 0
    finally:
        os._exit(code)


def wait_for_step(run_dir: Path, step: int, ranks: list[int]) -> None:
    while not any(record["step"] >= step for record in read_metrics(run_dir / "train" / "metrics.jsonl")):
        assert os.waitpid(ranks[0], os.WNOHANG) == (0, 0), "the run ended before it could be disturbed"
        time.sleep(0.02)


def kill_once(run_dir: Path, step: int, draw: random.Random, report: Report) -> None:
    """Start the run and kill a rank some moments after `step`."""
    checkpoints = run_dir / "train" / "checkpoints"
    found = newest_valid(checkpoints).record
    report.resumed.append(found.step if found else 0)
    ranks = fork_ranks(run_dir)
    wait_for_step(run_dir, step, ranks)
    time.sleep(draw.uniform(0.0, 0.3))
    victims = draw.sample(ranks, RANKS)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
        time.sleep(draw.choice([0.0, draw.uniform(0.0, 0.1)]))
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in victims]
    assert codes[0] == -signal.SIGKILL, "the rank had ended before it was killed"
    report.kills += 1
    report.inside_a_save += bool(list(checkpoints.glob(".saving-*")))
    report.wrong += [problem for _, problem in newest_valid(checkpoints).problems]
    if (run_dir / "train" / RESULT).exists():
        report.wrong.append(f"the run had ended at kill {report.kills}")


def main(run_dir: Path, kills: int, seed: int) -> Report:
    """All kills, then the rest of the run."""
    report, draw, steps = Report(), random.Random(seed), load_run(run_dir).training.steps
    for number in range(1, kills + 1):
        kill_once(run_dir, steps * number // (kills + 1), draw, report)
    for pid in fork_ranks(run_dir):
        if os.waitpid(pid, 0)[1]:
            report.wrong.append("the last start failed")
    return report


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))
