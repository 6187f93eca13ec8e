"""Nodes with addresses of their own, without a scheduler: a killed rank, a cut network, other launchers' lines."""

import importlib.metadata
import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from launch.clusters.load import fitted, load_cluster
from launch.clusters.targets import submission_of
from launch.nodes.attempts import read_attempts
from launch.ranks import log_of
from pipeline.config import fingerprint, load_config, load_run, save_config
from tests.conftest import needs
from tests.launch.clusters.namespaces import HEAD, INTERFACE, WORKER, Namespaces, namespaces
from tests.launch.conftest import SPANWRIGHT, beat_in, read_json, steps_done
from tests.processes import wait_for

CLUSTER = f"""\
kind: hostfile
hosts: [{HEAD}, {WORKER}]
nodes: 2
ranks_per_node: 1
gpus_per_node: 0
interface: {INTERFACE}
supervise: {{restarts: 4, backoff_seconds: 0.5, hang_seconds: 20, node_seconds: 60, start_seconds: 600}}
"""
pytestmark = needs("ip", root=True)


class Node:
    """A command line in one namespace, given again when it fails, as somebody at a terminal would."""

    def __init__(self, both: Namespaces, number: int, command: Sequence[str], log: Path) -> None:
        self._command, self._log, self.starts = both.inside(number, *command), log, 0
        self._give()

    def is_done(self) -> bool:
        """Whether it ended well; one that failed is given again."""
        code = self._process.poll()
        if code not in (None, 0):
            assert self.starts < 8, self._log.read_text(encoding="utf-8")
            self._give()
        return code == 0

    def wait(self) -> int:
        return self._process.wait(timeout=600)

    def _give(self) -> None:
        self.starts += 1
        with open(self._log, "ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, cwd=self._log.parent
            )


def test_a_killed_rank_and_a_link_that_is_cut_for_a_while_are_noticed_and_the_weights_are_the_undisturbed_ones(
    prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run_dir, site = tmp_path / "run", tmp_path / "two.yaml"
    site.write_text(CLUSTER, encoding="utf-8")
    train = [
        *SPANWRIGHT, "train", str(prepared / "small.yaml"), f"run.dir={run_dir}", f"data.dir={prepared / 'data'}",
        f"data.paths=[{prepared / 'corpus.jsonl'}]", "--within", str(site), "--node",
    ]  # fmt: skip
    with namespaces() as both:
        nodes = [Node(both, number, [*train, str(number)], tmp_path / f"node-{number}.log") for number in (0, 1)]
        killed = wait_for(lambda: beat_in(run_dir, attempt=1, rank=1, step=5))
        os.kill(killed["pid"], signal.SIGKILL)
        wait_for(lambda: beat_in(run_dir, attempt=2, rank=1, step=6))
        both.link("down")
        wait_for(lambda: sum("outcome" in line for line in read_attempts(run_dir / "train")) == 2)
        both.link("up")
        assert [node.wait() for node in nodes] == [0, 0]
    ends = [line for line in read_attempts(run_dir / "train") if "outcome" in line]
    starts = [line for line in read_attempts(run_dir / "train") if "started" in line]
    assert [line["outcome"] for line in ends] == ["failed", "failed", "done"]
    assert [line["attempt"] for line in starts] == [1, 2, 3]
    for line in starts:
        assert (line["hosts"], line["world_size"], line["gpus"]) == ([socket.gethostname()] * 2, 2, [])
        assert line["config"] == fingerprint(load_run(run_dir))
        assert line["dataset"] == read_json(prepared / "data" / "manifest.json")["fingerprint"]
        assert line["packages"]["torch"] == importlib.metadata.version("torch")
        assert re.fullmatch(r"[0-9a-f]{40}\+?", line["revision"])
        assert line["cores"] >= 1
        assert line["processor"]
    assert ends[0]["reason"].startswith("rank 1 was killed by SIGKILL")
    assert ends[1]["reason"].startswith("hang: no step for 2")
    assert read_json(run_dir / "train" / "result.json")["weight_hash"] == undisturbed["weight_hash"]


@pytest.fixture
def lines(prepared: Path, tmp_path: Path) -> Callable[[str], list[list[str]]]:
    """The lines that are printed for a launcher, by host."""
    (tmp_path / "two.yaml").write_text(CLUSTER, encoding="utf-8")
    cluster = load_cluster(str(tmp_path / "two.yaml"))
    overrides = [f"run.dir={tmp_path / 'run'}", f"data.dir={prepared / 'data'}", "data.paths=[/dev/null]"]
    config = fitted(load_config(str(prepared / "small.yaml"), overrides), cluster)
    save_config(config)
    submission = submission_of(config, cluster)
    (tmp_path / "run" / "submit").mkdir()
    (tmp_path / "run" / "submit" / "hostfile").write_text(submission.files["submit/hostfile"], encoding="utf-8")

    def of(launcher: str) -> list[list[str]]:
        [note] = [note for note in submission.notes if f"/bin/{launcher} " in note]
        return [shlex.split(line.partition("$ ")[2]) for line in note.splitlines()[1:]]

    return of


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_the_lines_for_other_launchers_notice_a_cut_link_and_train_to_the_same_weights(
    launcher: str, lines: Callable[[str], list[list[str]]], undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    with namespaces() as both:
        nodes = [Node(both, number, line, tmp_path / f"{number}.log") for number, line in enumerate(lines(launcher))]
        wait_for(lambda: steps_done(run_dir) >= 5)
        both.link("down")
        # Each rank by itself, its stack in its log; the launchers then end or wait for each other.
        wait_for(lambda: all("Timeout (0:00:20)!" in log_of(run_dir, rank).read_text() for rank in (0, 1)))
        both.link("up")
        wait_for(lambda: [node.is_done() for node in nodes] == [True, True], seconds=600)
    assert all("distributed_c10d.py" in log_of(run_dir, rank).read_text() for rank in (0, 1))
    result = read_json(run_dir / "train" / "result.json")
    assert result["weight_hash"] == undisturbed["weight_hash"]
