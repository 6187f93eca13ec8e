"""What every test shares: real corpora small enough for seconds, and the rule about skips."""

import os
import shutil
import signal
from collections.abc import Iterator

import pytest

ALLOWED_SKIP = "no GPU"

# Tests that run side by side have a core each. More threads than cores wait for each other most of the time, and those
# that a command starts all the same must not burn the other test's core while they wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell starts background jobs with SIGINT ignored, and every process below inherits that: Ctrl-C could not be tested.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def needs(*programs: str, root: bool = False) -> pytest.MarkDecorator:
    """A mark that skips, saying so, where a program is missing, or we may not start daemons and namespaces."""
    missing = [program for program in programs if shutil.which(program) is None]
    reason = f"this machine has no {', '.join(missing)} (.ci/run installs them)" if missing else "needs root"
    return pytest.mark.skipif(bool(missing) or (root and os.geteuid() != 0), reason=reason)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Matrices this small are slower on two threads, and much slower where the cores are shared."""
    import torch  # half of the tests need none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def process_group() -> Iterator[None]:
    """One rank that is alone, for whatever talks to the others."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """In CI a skip for any other reason than a missing GPU is a failure: nothing may be left out silently."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("CI") == "true" and report.skipped and ALLOWED_SKIP not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI for a reason other than {ALLOWED_SKIP!r}: {report.longrepr}"
