"""A real S3 server process for tests (moto's), and the environment of one who may use it."""

import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

SECRET = "very-secret-key"
_SERVER = """
from moto.server import ThreadedMotoServer
import sys, time
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The URL of a server that lives as long as the context."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    port = next(line for line in server.stdout if line.strip().isdecimal()).strip()
    yield f"http://127.0.0.1:{port}"
    server.stdin.close()
    server.wait(timeout=120)


def reset(endpoint: str) -> None:
    """Forget all buckets."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()


def environment(endpoint: str) -> dict[str, str]:
    """What a client reads: endpoint and credentials."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
