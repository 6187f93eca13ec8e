"""`python -m launch.nodes RUN CLUSTER_FILE INDEX NODES`: one node of a training, started by a launcher of ours."""

import os
import sys
from pathlib import Path

from data_prep.errors import InputError, SpanwrightError
from launch.clusters.load import load_cluster
from launch.nodes.follow import follow
from launch.nodes.lead import lead
from pipeline.config import load_run
from pipeline.training.stopping import PARENT, die_with_parent


def main(arguments: list[str]) -> int:
    """Be that node until the training ends; the exit code."""
    if len(arguments) != 4:
        print("usage: python -m launch.nodes RUN CLUSTER_FILE INDEX NODES", file=sys.stderr)
        return InputError.exit_code
    run_dir, cluster_file, index, nodes = arguments
    if launcher := os.environ.get(PARENT):
        die_with_parent(int(launcher))
    try:
        config, cluster = load_run(Path(run_dir)), load_cluster(cluster_file, [f"nodes={int(nodes)}"])
        return lead(config, cluster) if int(index) == 0 else follow(config, cluster, int(index))
    except SpanwrightError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
