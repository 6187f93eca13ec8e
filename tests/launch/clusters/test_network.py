"""Nodes with addresses of their own, without a scheduler: a cut network; the lines for torchrun and DeepSpeed."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launch.clusters.load import fitted, load_cluster
from launch.clusters.targets import submission_of
from launch.nodes.attempts import read_attempts
from pipeline.config import load_config, save_config
from tests.conftest import needs
from tests.launch.clusters.namespaces import HEAD, INTERFACE, WORKER, Namespaces, namespaces
from tests.launch.conftest import SPANWRIGHT, read_json, steps_done, wait_for

CLUSTER = f"""\
kind: hostfile
hosts: [{HEAD}, {WORKER}]
nodes: 2
ranks_per_node: 1
gpus_per_node: 0
interface: {INTERFACE}
supervise: {{restarts: 4, backoff_seconds: 1, hang_seconds: 20, node_seconds: 60, start_seconds: 600}}
"""


def start_inside(both: Namespaces, node: int, command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with open(log, "wb") as output:
        return subprocess.Popen(both.inside(node, *command), stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)


@pytest.mark.long
@needs("ip", root=True)
def test_a_link_that_is_cut_for_a_while_is_noticed_and_the_weights_are_those_of_an_undisturbed_run(
    prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run_dir, site = tmp_path / "run", tmp_path / "two.yaml"
    site.write_text(CLUSTER, encoding="utf-8")
    train = [
        *SPANWRIGHT, "train", str(prepared / "small.yaml"), f"run.dir={run_dir}", f"data.dir={prepared / 'data'}",
        f"data.paths=[{prepared / 'corpus.jsonl'}]", "--within", str(site), "--node",
    ]  # fmt: skip
    with namespaces() as both:
        nodes = [start_inside(both, node, [*train, str(node)], tmp_path / f"node-{node}.log") for node in (0, 1)]
        wait_for(lambda: steps_done(run_dir) >= 5)
        both.link("down")
        wait_for(lambda: any(line.get("outcome") == "failed" for line in read_attempts(run_dir / "train")))
        both.link("up")
        assert [node.wait(timeout=600) for node in nodes] == [0, 0]
    ends = [line for line in read_attempts(run_dir / "train") if "outcome" in line]
    assert ends[0]["outcome"] == "failed"
    assert ends[-1]["outcome"] == "done"
    assert read_json(run_dir / "train" / "result.json")["weight_hash"] == undisturbed["weight_hash"]


@pytest.mark.long
@needs("ip", root=True)
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_the_lines_for_other_launchers_train_to_the_same_weights(
    launcher: str, prepared: Path, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "two.yaml").write_text(CLUSTER, encoding="utf-8")
    cluster = load_cluster(str(tmp_path / "two.yaml"))
    config = fitted(
        load_config(
            str(prepared / "small.yaml"),
            [f"run.dir={tmp_path / 'run'}", f"data.dir={prepared / 'data'}", "data.paths=[/dev/null]"],
        ),
        cluster,
    )
    save_config(config)
    submission = submission_of(config, cluster)
    (tmp_path / "run" / "submit").mkdir()
    (tmp_path / "run" / "submit" / "hostfile").write_text(submission.files["submit/hostfile"], encoding="utf-8")
    [note] = [note for note in submission.notes if f"/bin/{launcher} " in note]
    lines = [shlex.split(line.partition("$ ")[2]) for line in note.splitlines()[1:]]
    with namespaces() as both:
        nodes = [start_inside(both, node, line, tmp_path / f"{node}.log") for node, line in enumerate(lines)]
        codes = [node.wait(timeout=600) for node in nodes]
    assert codes == [0, 0], (tmp_path / "0.log").read_text(encoding="utf-8")
    result = read_json(tmp_path / "run" / "train" / "result.json")
    assert result["weight_hash"] == undisturbed["weight_hash"]
