"""A Ray cluster of two nodes on this machine, each in a network namespace with an address of its own, token on."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launch.ray_cluster import TRAIN_RESOURCE
from tests.launch.clusters.namespaces import HEAD, WORKER, Namespaces, namespaces

RAY = str(Path(sys.executable).with_name("ray"))
START_TRIES = 3


class RaySite:
    """The environment with the token, and what runs in the two namespaces."""

    def __init__(self, folder: Path, both: Namespaces) -> None:
        self.token = secrets.token_hex(32)
        self.environment = {
            **os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # Ray's 15 would let whatever else runs here starve the jobs
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        self.address = f"http://{HEAD}:8265"
        self._folder, self.both = folder, both

    def run(
        self, node: int, *command: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` on node `node`, with the token unless another environment is given."""
        return subprocess.run(
            self.both.inside(node, *command), env=environment or self.environment, capture_output=True, text=True,
            check=False, cwd=self._folder, timeout=600,
        )  # fmt: skip

    def start_head(self, cores: int) -> None:
        """The node that jobs are submitted to."""
        self._start(
            0, cores, "--head", f"--node-ip-address={HEAD}", "--port=6379", "--include-dashboard=true",
            f"--dashboard-host={HEAD}", f"--temp-dir={self._folder}",
        )  # fmt: skip

    def start_worker(self) -> None:
        resources = json.dumps({TRAIN_RESOURCE: 1})  # as KubeRay gives it to pods that train
        self._start(1, 2, f"--address={HEAD}:6379", f"--node-ip-address={WORKER}", f"--resources={resources}")

    def jobs(self, verb: str) -> list[str]:
        """Ray's own command about jobs."""
        return [RAY, "job", verb, "--address", self.address]

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """What Ray knows of the tasks of that name."""
        done = self.run(
            0, RAY, "list", "tasks", "--address", self.address, "--filter", f"name={name}", "--format", "json"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def _start(self, node: int, cores: int, *options: str) -> None:
        """Start a node; again on a loaded machine, where Ray's own 30 seconds for it are too few."""
        for _ in range(START_TRIES):
            done = self.run(node, RAY, "start", f"--num-cpus={cores}", "--object-store-memory=100000000", *options)
            if done.returncode == 0:
                return
            self.both.kill(node)
        raise AssertionError(done.stdout + done.stderr)


@contextlib.contextmanager
def ray_site(workers: bool = True, head_cores: int = 1) -> Iterator[RaySite]:
    """Both nodes (or the head alone), until the end of the block; by itself the head has one core of three."""
    folder = Path(f"/tmp/spanray-{os.getpid()}")  # sockets lie below it: their paths must be short
    folder.mkdir()
    try:
        with namespaces() as both:
            site = RaySite(folder, both)
            site.start_head(head_cores)
            if workers:
                site.start_worker()
            yield site
    finally:
        shutil.rmtree(folder, ignore_errors=True)
