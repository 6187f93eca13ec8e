"""Preparation on Ray, with real processes and real SIGKILLs. A start of Ray costs seconds, so assertions share them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data_prep.config import DataConfig
from data_prep.driver import RETRIES, RayWorkers, prepare
from data_prep.errors import InputError, SpanwrightError
from data_prep.work import WorkFolder

MakeConfig = Callable[..., DataConfig]
Files = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def reference(
    corpus: Path, make_inline: Any, small_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The dataset of the corpus as tasks in this process make it."""
    out = tmp_path_factory.mktemp("reference") / "out"
    make_inline().build(small_config(corpus), out)
    return out


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayWorkers]:
    """Two workers that the tests of this module share."""
    with RayWorkers(2) as workers:
        workers.connect()
        import ray  # not before: Ray reads settings of `connect` when it is imported

        yield workers
        assert ray.is_initialized()
    assert not ray.is_initialized()


def kill_workers(pids: Callable[[], set[int]], killed: list[int], stop: threading.Event, most: int) -> None:
    """SIGKILL processes that `pids` finds, at most `most` of them, until told to stop."""
    while not stop.is_set() and len(killed) < most:
        for pid in pids() - set(killed):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            break
        time.sleep(0.002)


def writers(out: Path) -> set[int]:
    """Processes with a temporary shard or sample file in the work folder (its name says whose it is)."""
    names = [path.name for path in (out / ".work").glob("*/.*.tmp")]
    return {int(name.split(".")[-2].split("-")[0]) for name in names} - {os.getpid()}


def test_a_preparation_starts_its_own_workers_and_ends_them(
    reference: Path, corpus: Path, small_config: MakeConfig, dataset_files: Files, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = prepare(small_config(corpus, workers=1), out)
    assert dataset_files(out) == dataset_files(reference)
    assert not report.did_nothing
    assert prepare_without_ray(small_config(corpus), out) == "did nothing"
    assert not list(Path("/tmp").glob(f"spanwright-ray-{os.getpid()}-*"))


def prepare_without_ray(config: Any, out: Path) -> str:
    """Prepare in a process of its own, which must not import Ray; whether there was anything to do."""
    code = (
        "import sys; from pathlib import Path; from data_prep.driver import DataConfig, prepare\n"
        "report = prepare(DataConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]))\n"
        "assert 'ray' not in sys.modules\n"
        "print('did nothing' if report.did_nothing else 'prepared', end='')"
    )
    command = [sys.executable, "-c", code, config.model_dump_json(), str(out)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_a_corpus_of_one_unit_is_prepared_without_workers(
    make_inline: Any, corpus: Path, small_config: MakeConfig, dataset_files: Files, tmp_path: Path
) -> None:
    config = small_config(corpus / "json", split_bytes=2**20, stages=["dedup"], columns={"weight": "idf"})
    assert prepare_without_ray(config, tmp_path / "out") == "prepared"
    make_inline().build(config, tmp_path / "reference")
    assert dataset_files(tmp_path / "out") == dataset_files(tmp_path / "reference")


def test_killed_workers_change_no_byte(
    cluster: RayWorkers, make_inline: Any, corpus: Path, small_config: MakeConfig, dataset_files: Files, tmp_path: Path
) -> None:
    config = small_config(corpus, stages=["clean", "dedup"], columns={"words": "whitespace", "weight": "idf"})
    make_inline().build(config, tmp_path / "reference")
    out, killed, stop = tmp_path / "out", list[int](), threading.Event()
    killer = threading.Thread(target=kill_workers, args=(lambda: writers(out), killed, stop, 2))
    killer.start()
    try:
        prepare(config, out)
    finally:
        stop.set()
        killer.join()
    assert len(killed) == 2
    assert dataset_files(out) == dataset_files(tmp_path / "reference")
    assert not list((out / ".work").rglob(".*.tmp"))


@pytest.mark.long
def test_a_cluster_that_hangs_while_it_starts_is_given_up_and_started_again() -> None:
    """In a process of its own, which stops the server that others wait for. One start tells what another may take."""
    code = """
import os, signal, time
from data_prep import driver

driver._prepare_environment()
from ray._private import node

def connected():
    began = time.monotonic()
    with driver.RayWorkers(1) as workers:
        workers.connect()
        import ray
        return time.monotonic() - began, ray.get(ray.remote(lambda: 7).remote())

limit = 5 + 3 * connected()[0]
stopped = []

def stopped_at_first(self, start=node.Node.start_gcs_server):
    start(self)
    if not stopped:
        [server] = self.all_processes["gcs_server"]
        os.kill(server.process.pid, signal.SIGSTOP)
        stopped.append(server)
        driver.START_SECONDS = 600.0  # the next start takes as long as it needs

node.Node.start_gcs_server = stopped_at_first
driver.START_SECONDS = limit
took, answer = connected()
print(len(stopped), took > limit, answer)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1800)
    assert done.stdout.split() == ["1", "True", "7"], done.stderr


def test_where_ray_ends_the_process_a_message_says_so(tmp_path: Path) -> None:
    """In a process of its own, whose raylet is killed right before it registers there: Ray's C++ calls `_exit`."""
    code = """
import os, signal, sys
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_raylet_client_num_connect_attempts": "1"}
from pathlib import Path
from ray import _raylet
from data_prep import driver, start_limit

def registered_with_nobody(*args, register=_raylet.CoreWorker, **kwargs):
    folders = Path("/tmp").glob(f"spanwright-ray-{os.getpid()}-*")
    for process in (process for folder in folders for process in start_limit.processes_of(folder)):
        if b"raylet/raylet" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\\0")[0]:
            os.kill(process, signal.SIGKILL)
            os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
            print("killed", flush=True)
    return register(*args, **kwargs)

_raylet.CoreWorker = registered_with_nobody
with driver.RayWorkers(1) as workers:
    workers.connect()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == ("killed\n", 1), done.stderr
    assert done.stderr.count("\nerror this process was ended by Ray") == 1
    assert done.stderr.endswith("the same command continues the preparation\n")


class Poison:
    """A task that always kills its worker, and counts its deaths."""

    id, label, kind, size = "poison-1", "poison a.txt bytes 0-7", "read", 0


def die(task: Any, work: WorkFolder) -> dict[str, Any]:
    with open(work.root / "deaths", "a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def fail(task: Any, work: WorkFolder) -> dict[str, Any]:
    return {"x": 1 // len([])}


def refuse(task: Any, work: WorkFolder) -> dict[str, Any]:
    raise InputError("a.txt:3: bad")


def test_a_task_that_keeps_failing_is_an_error_that_names_it(cluster: RayWorkers, tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    with work.locked():
        with pytest.raises(SpanwrightError, match=r"poison a\.txt bytes 0-7: its worker died 4 times") as raised:
            cluster.run_tasks(die, [Poison()], work, lambda *_: None)  # type: ignore[list-item]
        assert (tmp_path / "deaths").read_text() == "x" * (RETRIES + 1)
        assert "data.workers" in str(raised.value)
        with pytest.raises(SpanwrightError, match=r"poison a\.txt bytes 0-7: ZeroDivisionError"):
            cluster.run_tasks(fail, [Poison()], work, lambda *_: None)  # type: ignore[list-item]
        with pytest.raises(InputError, match=r"^a\.txt:3: bad$"):
            cluster.run_tasks(refuse, [Poison()], work, lambda *_: None)  # type: ignore[list-item]
        assert work.record(Poison.id) is None


def test_workers_have_the_priority_of_the_command(cluster: RayWorkers) -> None:
    import ray

    assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)


def test_the_cluster_refuses_whoever_has_no_token(cluster: RayWorkers) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    code = f"from ray._raylet import GcsClient; print(GcsClient(address={address!r}).internal_kv_keys(b'', None, 5))"
    allowed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert allowed.returncode == 0, allowed.stderr
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    refused = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True, timeout=300)
    assert refused.returncode != 0
    assert "AuthenticationError" in refused.stderr


def start_when(command: list[str], environment: dict[str, str], reached: Callable[[], bool]) -> subprocess.Popen[bytes]:
    """The process of `command`, in a session of its own, once it has come to a certain point."""
    process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300  # longer than the driver waits for a start that hangs
    while not reached():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def test_a_stopped_or_killed_preparation_is_continued_by_the_same_command(
    cluster: RayWorkers, reference: Path, corpus: Path, small_config: MakeConfig, dataset_files: Files, tmp_path: Path
) -> None:
    out, records = tmp_path / "out", tmp_path / "out" / ".work" / "records"
    config = small_config(corpus, workers=1)
    code = (
        "import sys; from pathlib import Path; from data_prep.driver import DataConfig, StoppedEarlyError, prepare\n"
        "try: prepare(DataConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]))\n"
        "except StoppedEarlyError as error: sys.stderr.write(str(error)); sys.exit(error.exit_code)"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", code, config.model_dump_json(), str(out)]
    for stop in (lambda pid: os.killpg(pid, signal.SIGINT), lambda pid: os.kill(pid, signal.SIGTERM)):  # Ctrl-C first
        before = set(records.glob("*.json"))
        process = start_when(command, clean, lambda before=before: bool(set(records.glob("*.json")) - before))
        stop(process.pid)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 75, said
        assert said.decode() == f"{out}: stopped; the same command continues the preparation"
        assert before < set(records.glob("*.json"))
    # Then, while shards are written:
    process = start_when(command, clean, lambda: bool(list(records.glob("train-*"))))
    process.kill()
    process.wait()
    assert not (out / "manifest.json").exists()
    done = {path.name: path.read_bytes() for path in records.iterdir() if path.suffix == ".json"}
    prepare(config, out)
    assert done.keys() & {path.name for path in records.iterdir()}
    assert dataset_files(out) == dataset_files(reference)
    deadline = time.monotonic() + 300
    while (left := session_processes(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


# Ray's two helpers of a node try for a minute to report its death to nobody, then end too. They run no task.
REPORTERS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def session_processes(session: int) -> list[str]:
    """Command lines of the processes that the leader of `session` left behind."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            command = (stat.parent / "cmdline").read_bytes().decode(errors="replace")
            if not command.startswith(REPORTERS):
                found.append(command)
    return found
