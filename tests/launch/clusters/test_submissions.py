"""What would be submitted to each kind of cluster: golden texts, checked by the tools that would read them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from data_prep.errors import InputError
from launch.clusters.config import KINDS
from launch.clusters.load import cluster_text, fitted, load_cluster
from launch.clusters.submission import Submission
from launch.clusters.targets import submission_of
from pipeline.config import RunConfig, load_config
from pipeline.config_files import builtin_configs
from tests.conftest import needs

HERE = Path(__file__).parent
RUN = ("data.paths=[/data/corpus]", "model=tiny", "run.dir=/data/runs/mine")
SITE = (
    "cluster.account=lab42",
    "cluster.train={partition: gpu, time: '24:00:00', cpus: 64}",
    "cluster.modules=[cuda/12.8]",
    "cluster.environment={NCCL_DEBUG: it's $HOME}",
    "cluster.supervise.elastic=true",
)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "local": ("local", ("cluster.ranks_per_node=2",)),
    "hostfile": ("hostfile", ("cluster.interface=ib0",)),
    "slurm": ("slurm", SITE),
    "slurm_container_chain": (
        "slurm",
        (
            "cluster.container=/images/spanwright.sif",
            "cluster.binds=[/data]",
            "cluster.requeue=false",
            "cluster.chain=2",
        ),
    ),
    "ray": ("ray", ("cluster.environment={NCCL_DEBUG: INFO}",)),
    "kubernetes": (
        "kubernetes",
        ("cluster.prep_nodes=3", "cluster.node_selector={zone: a}", "cluster.secrets={AWS_ACCESS_KEY_ID: keys/id}"),
    ),
}


def run_config(*overrides: str) -> RunConfig:
    return load_config("t5_span", [*RUN, *overrides])


def submission(cluster: str, overrides: tuple[str, ...], *run_overrides: str) -> Submission:
    loaded = load_cluster(cluster, overrides)
    return submission_of(fitted(run_config(*run_overrides), loaded), loaded)


@pytest.mark.parametrize("case", CASES)
def test_the_submission_is_the_golden_text(case: str) -> None:
    """Written anew by `SPANWRIGHT_WRITE_GOLDEN=1 pytest`, to be read in the diff."""
    text = submission(*CASES[case]).describe(Path("/data/runs/mine"))
    text = text.replace(str(Path(sys.executable).parent), "/venv/bin")
    # The run's config is golden elsewhere (it changes with every new field).
    text = re.sub(r"(?<=  config.yaml: \|\n)(    .*\n)+", "    ...\n", text)
    golden = HERE / "golden" / f"{case}.txt"
    if os.environ.get("SPANWRIGHT_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((builtin_configs() / "clusters").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_cluster_explains_every_field_and_reads_back_the_same(path: Path, tmp_path: Path) -> None:
    cluster = load_cluster(path.stem)
    assert cluster.kind == path.stem
    text = path.read_text(encoding="utf-8")
    assert [name for name in KINDS[cluster.kind].model_fields if not re.search(rf"^{name}:", text, re.MULTILINE)] == []
    unexplained = [name for name in type(cluster.supervise).model_fields if not re.search(rf"^  {name}: ", text, re.M)]
    assert unexplained == []
    (tmp_path / "cluster.yaml").write_text(cluster_text(cluster), encoding="utf-8")
    assert load_cluster(str(tmp_path / "cluster.yaml")) == cluster


@needs("shellcheck")
@pytest.mark.parametrize("case", ["slurm", "slurm_container_chain"])
def test_slurm_scripts_pass_shellcheck(case: str, tmp_path: Path) -> None:
    for name, text in submission(*CASES[case]).files.items():
        if name.endswith(".sbatch"):
            script = tmp_path / Path(name).name
            script.write_text(text, encoding="utf-8")
            done = subprocess.run(
                ["shellcheck", "--severity=warning", str(script)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout


def rayjob(overrides: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    text = submission("kubernetes", overrides).files["submit/rayjob.yaml"]
    config_map, job = YAML(typ="safe", pure=True).load_all(text)
    return config_map, job


@pytest.mark.parametrize("overrides", [(), CASES["kubernetes"][1], ("cluster.gpus_per_node=0",)])
def test_the_rayjob_is_valid_under_kuberays_schema(overrides: tuple[str, ...]) -> None:
    schema = json.loads((HERE / "kuberay_rayjob_v1.json").read_text(encoding="utf-8"))
    _, job = rayjob(overrides)
    jsonschema.Draft202012Validator(schema).validate(job)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 1  # the schema does refuse what it does not know
    with pytest.raises(jsonschema.ValidationError, match="'replica' was unexpected"):
        jsonschema.Draft202012Validator(schema).validate(job)


def test_the_config_map_holds_the_run_and_the_cluster(tmp_path: Path) -> None:
    config_map, _ = rayjob(("cluster.nodes=1",))
    for name, text in config_map["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    cluster = load_cluster("kubernetes", ["nodes=1"])
    assert load_cluster(str(tmp_path / "cluster.yaml")) == cluster
    assert load_config(str(tmp_path / "config.yaml")) == fitted(run_config(), cluster)


@pytest.mark.parametrize(
    ("cluster", "override", "message"),
    [
        ("slurm", "cluster.account=a b", "cluster.account"),
        ("slurm", 'cluster.account="x\\n#SBATCH --uid=0"', "account"),
        ("slurm", "cluster.options=['--wrap=a; rm -rf b']", "options"),
        ("slurm", "cluster.environment={'A=1; B': x}", "environment"),
        ("slurm", "cluster.modules=['$(reboot)']", "modules"),
        ("slurm", "cluster.nodes=0", "nodes: Input should be greater than 0"),
        ("slurm", "cluster.node=2", "Did you mean 'nodes'?"),
        ("slurm", "cluster.chain=2", "requeue is true"),
        ("kubernetes", "cluster.secrets={KEY: value}", "secrets"),
        ("kubernetes", "cluster.volumes=[{claim: c, path: /elsewhere}]", "run.dir: /data/runs/mine lies on none"),
        ("hostfile", "cluster.hosts=[a]", "hosts names 1"),
        ("hostfile", "cluster.hosts=['a;b', c]", "hosts"),
        ("ray", "cluster.address=ray://x", "address"),
        ("slurm", "cluster.gpus_per_node=6", "12 ranks: training.global_batch=128 is not a multiple"),
    ],
)
def test_wrong_clusters_are_one_message_naming_the_field(cluster: str, override: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        submission(cluster, (override,))
    assert message.removeprefix("cluster.") in str(caught.value)


@pytest.mark.parametrize("folder", ["/data/my runs", "/data/$HOME", "/data/a'b", "/data/%j"])
def test_a_run_folder_that_a_shell_would_read_is_refused(folder: str) -> None:
    with pytest.raises(InputError, match=r"run\.dir"):
        submission("slurm", (), f"run.dir={json.dumps(folder)}")


def test_an_unknown_cluster_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"Did you mean 'slurm'\?.*hostfile, kubernetes, local, ray, slurm"):
        load_cluster("slrum")
