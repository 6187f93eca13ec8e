"""Two network namespaces of this machine with one cable between them: nodes with addresses of their own."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

NETWORK = "10.231.17"
HEAD, WORKER = f"{NETWORK}.1", f"{NETWORK}.2"
INTERFACE = "span0"  # of that name in both


class Namespaces:
    """The two, by number."""

    def __init__(self) -> None:
        self.names = [f"span-{os.getpid()}-{number}" for number in range(2)]

    def inside(self, node: int, *command: str) -> list[str]:
        """`command` as node `node` runs it."""
        return ["ip", "netns", "exec", self.names[node], *command]

    def link(self, state: str) -> None:
        """Cut the cable (`down`), or mend it (`up`)."""
        subprocess.run(["ip", "-n", self.names[1], "link", "set", INTERFACE, state], check=True)

    def processes(self, node: int) -> list[int]:
        """Everything in a node's namespace."""
        listed = subprocess.run(["ip", "netns", "pids", self.names[node]], capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def kill(self, node: int) -> int:
        """SIGKILL to everything in a node's namespace; how many processes that were."""
        killed = 0
        for pid in self.processes(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        return killed


@contextlib.contextmanager
def namespaces() -> Iterator[Namespaces]:
    """Both, connected; what runs in them ends with the block."""
    both = Namespaces()
    try:
        _connect(both.names)
        yield both
    finally:
        for node, name in enumerate(both.names):
            both.kill(node)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _connect(names: list[str]) -> None:
    cable = [f"{name[-12:]}c" for name in names]
    commands = [["ip", "netns", "add", name] for name in names]
    commands.append(["ip", "link", "add", cable[0], "type", "veth", "peer", "name", cable[1]])
    for name, end, address in zip(names, cable, (HEAD, WORKER), strict=True):
        commands += [
            ["ip", "link", "set", end, "netns", name],
            ["ip", "-n", name, "link", "set", end, "name", INTERFACE],
            ["ip", "-n", name, "addr", "add", f"{address}/24", "dev", INTERFACE],
            ["ip", "-n", name, "link", "set", INTERFACE, "up"],
            ["ip", "-n", name, "link", "set", "lo", "up"],
        ]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
