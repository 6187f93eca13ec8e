"""A Ray cluster of two nodes on this machine, each in a network namespace with an address of its own, token on."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.launch.clusters.namespaces import HEAD, WORKER, Namespaces, namespaces

RAY = str(Path(sys.executable).with_name("ray"))


class RaySite:
    """The environment with the token, and what runs in the two namespaces."""

    def __init__(self, folder: Path, both: Namespaces) -> None:
        self.token = secrets.token_hex(32)
        self.environment = {
            **os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_USAGE_STATS_ENABLED": "0",
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

    def start_head(self) -> None:
        """With a single core, so that tasks go to the other node too."""
        self._start(
            0, 1, "--head", f"--node-ip-address={HEAD}", "--port=6379", "--include-dashboard=true",
            f"--dashboard-host={HEAD}", f"--temp-dir={self._folder}",
        )  # fmt: skip

    def start_worker(self) -> None:
        self._start(1, 2, f"--address={HEAD}:6379", f"--node-ip-address={WORKER}")

    def jobs(self, verb: str) -> list[str]:
        """Ray's own command about jobs."""
        return [RAY, "job", verb, "--address", self.address]

    def _start(self, node: int, cores: int, *options: str) -> None:
        done = self.run(node, RAY, "start", f"--num-cpus={cores}", "--object-store-memory=100000000", *options)
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def ray_site(workers: bool = True) -> Iterator[RaySite]:
    """Both nodes (or the head alone), until the end of the block."""
    folder = Path(f"/tmp/spanray-{os.getpid()}")  # sockets lie below it: their paths must be short
    folder.mkdir()
    try:
        with namespaces() as both:
            site = RaySite(folder, both)
            site.start_head()
            if workers:
                site.start_worker()
            yield site
    finally:
        shutil.rmtree(folder, ignore_errors=True)
