"""Read a cluster's config (a file, or a name below configs/clusters) and fit a run to it."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from data_prep.errors import InputError
from launch.clusters.config import KINDS, AnyCluster
from pipeline.config import RunConfig
from pipeline.config_files import builtin_configs, dump_yaml, load_tree
from pipeline.validation import validate_tree

OVERRIDE_PREFIX = "cluster."
CLUSTER_FILE = "cluster.yaml"


def load_cluster(name: str, overrides: Sequence[str] = ()) -> AnyCluster:
    """The cluster called `name`, with `cluster.a.b=c` overrides. InputError names file, field and fix."""
    path = _find(name)
    tree = load_tree(path, [override.removeprefix(OVERRIDE_PREFIX) for override in overrides])
    kind = tree.values.get("kind")
    if kind not in KINDS:
        raise InputError(f"{tree.place(('kind',))}: kind is {kind!r}, not one of: {', '.join(KINDS)} (in {path}).")
    cluster = validate_tree(tree, KINDS[kind])
    assert isinstance(cluster, get_args(AnyCluster))
    return cluster


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides of the run, and those of the cluster (`cluster.a.b=c`)."""
    of_cluster = [override for override in overrides if override.startswith(OVERRIDE_PREFIX)]
    return [override for override in overrides if override not in of_cluster], of_cluster


def cluster_text(cluster: AnyCluster) -> str:
    """The resolved cluster as YAML that `load_cluster` reads back."""
    return "# Where this run was submitted to.\n" + dump_yaml(cluster.model_dump(mode="json", exclude_none=True))


def fitted(config: RunConfig, cluster: AnyCluster) -> RunConfig:
    """`config` with as many ranks as the cluster has; InputError when they do not divide the global batch."""
    try:
        config.check_ranks(cluster.ranks)
    except InputError as error:
        raise InputError(
            f"cluster.nodes={cluster.nodes} with {cluster.ranks_on_node} ranks each are {cluster.ranks} ranks: {error}"
        ) from None
    return config.model_copy(update={"training": config.training.model_copy(update={"ranks": cluster.ranks})})


def _find(name: str) -> Path:
    folder = builtin_configs() / "clusters"
    for candidate in (Path(name).expanduser(), folder / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise InputError(f"no cluster named {name!r}. {hint}Give a YAML file, or one of: {', '.join(known)}.")
