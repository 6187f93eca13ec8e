"""Runs a preparation on Ray. The only file of data_prep that imports ray.

1. `prepare` builds the dataset; Ray is started for the first wave that is worth it: a small corpus, of one unit, is
   prepared in this process, and a rerun that does nothing is quick.
2. A cluster started here listens with token authentication, has no dashboard, reports nothing, and ends with us. Where
   it ends us (see `last_words`), a message says so.
3. Workers get paths, never the corpus. A worker that dies is replaced and its task run again, up to `RETRIES` times.
"""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from data_prep.build import Build
from data_prep.calls import Waiting, execute_all, run_task
from data_prep.config import DataConfig
from data_prep.errors import SpanwrightError, StoppedEarlyError
from data_prep.last_words import last_words
from data_prep.progress import NoProgress, Progress
from data_prep.publish import PrepReport
from data_prep.shards.files import named_errors
from data_prep.start_limit import ended_after
from data_prep.waves import Record, Task, TaskFunction, is_quick
from data_prep.work import WorkFolder

__all__ = ["PrepReport", "RayWorkers", "prepare"]

RETRIES = 3  # of a task whose worker died
START_SECONDS = 300.0  # for a cluster; it is tried twice (on a machine under heavy load a start takes a minute)
OBJECT_STORE_BYTES = 80 * 2**20  # records and paths only (Ray wants at least 75 MiB)
IN_FLIGHT = 4  # calls handed to Ray at a time, per worker

_ENDED = (
    "this process was ended by Ray, one of whose servers hung or was killed (its logs are in {}), or from outside; "
    "the same command continues the preparation"
)
_SESSIONS = Path("/tmp")
_SESSION_PREFIX = "spanwright-ray-"


def prepare(config: DataConfig, out: Path, progress: Progress | None = None) -> PrepReport:
    """Make the dataset that `config` describes in the folder `out`, or continue making it.

    InputError: wrong config or corpus. SpanwrightError: a task that keeps failing, a full disk. StoppedEarlyError:
    Ctrl-C or SIGTERM. Whatever ends it, the same call continues where it stopped.
    """
    out = Path(out).absolute()
    with named_errors(out, "write"):
        out.mkdir(parents=True, exist_ok=True)
    try:
        with _termination_as_interrupt(), RayWorkers(config.workers or len(os.sched_getaffinity(0))) as workers:
            return Build(config, out, workers.run_tasks, progress or NoProgress(), workers.connect).run()
    except KeyboardInterrupt as error:
        raise StoppedEarlyError(f"{out}: stopped; the same command continues the preparation") from error


class RayWorkers:
    """Ray as a place to run tasks: the cluster this process is connected to, or one started here while needed."""

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._cluster = contextlib.ExitStack()  # ends it
        self._remote: Any = None

    def __enter__(self) -> "RayWorkers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cluster.close()

    def run_tasks(
        self,
        function: TaskFunction,
        tasks: Sequence[Task],
        work: WorkFolder,
        on_done: Callable[[Task, Record], None],
    ) -> None:
        """See `waves.RunTasks`. Tasks are handed out in order, a few per worker at a time."""
        if is_quick(tasks) and not _is_connected():
            on_done(tasks[0], _done_here(function, tasks[0], work))
            return
        self.connect()
        import ray

        # One remote function for all waves: workers fetch each they have not seen.
        self._remote = self._remote or ray.remote(num_cpus=1, max_retries=RETRIES)(execute_all)
        waiting, running = Waiting(tasks, self._num_workers), dict[Any, list[Task]]()
        # After an error the tasks in flight are left alone: they end with the cluster or write what a rerun would. (Ray
        # 2.60's `cancel` races with their results: 2 of 40 interrupted drivers died of a failed check inside Ray.)
        while waiting or running:
            while waiting and len(running) < IN_FLIGHT * self._num_workers:
                call = waiting.take()
                running[self._remote.remote(function, call, work.root)] = call
            [ready], _ = ray.wait(list(running), num_returns=1)
            call = running.pop(ready)
            results, seconds = _results(ready, call)
            waiting.took(seconds / len(results))
            for task, result in zip(call, results, strict=False):
                if isinstance(result, SpanwrightError):
                    raise result
                on_done(task, result)

    def connect(self) -> None:
        """Start a cluster of this machine, unless this process is connected to one."""
        _prepare_environment()
        import ray

        if ray.is_initialized():
            return
        for last in (False, True):
            folder = _session_folder()
            try:
                self._cluster = self._started(folder)
            except Exception as error:
                ray.shutdown()
                if last:
                    raise SpanwrightError(f"Ray could not be started: {error}; its logs are in {folder}") from error
            else:
                break
        _interrupt_on_termination()

    def _started(self, folder: Path) -> contextlib.ExitStack:
        """Start a cluster with its sockets and logs in `folder`; closing what is returned ends it."""
        with contextlib.ExitStack() as cluster:
            cluster.enter_context(last_words(_ENDED.format(folder)))
            with ended_after(START_SECONDS, folder):
                self._init(folder)
            cluster.callback(_end_cluster, folder)
            return cluster.pop_all()

    def _init(self, folder: Path) -> None:
        import ray

        ray.init(
            address="local",
            num_cpus=self._num_workers,
            num_gpus=0,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder),
        )


def _end_cluster(folder: Path) -> None:
    import ray

    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the block like Ctrl-C does."""
    before = _interrupt_on_termination()
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _interrupt_on_termination() -> Any:
    """Have SIGTERM raise KeyboardInterrupt (Ray puts its own handler there); what stood there before, if anything."""
    if threading.current_thread() is not threading.main_thread():  # Python allows it nowhere else
        return None
    return signal.signal(signal.SIGTERM, signal.default_int_handler)


def _is_connected() -> bool:
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


def _done_here(function: TaskFunction, task: Task, work: WorkFolder) -> Record:
    """The record of a task that this process runs itself."""
    try:
        result = run_task(function, task, work.root)
    except Exception as error:
        raise SpanwrightError(f"{task.label}: {type(error).__name__}: {error}") from error
    if isinstance(result, SpanwrightError):
        raise result
    return result


def _results(reference: Any, call: Sequence[Task]) -> tuple[list[Record | SpanwrightError], float]:
    """What `execute_all` gave for the tasks of a call."""
    import ray

    label = call[0].label if len(call) == 1 else f"{call[0].label}, or one of {len(call) - 1} tasks after it"
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise SpanwrightError(f"{label}: {type(error.cause).__name__}: {error.cause}") from error
    except (ray.exceptions.LocalRayletDiedError, ray.exceptions.NodeDiedError) as error:
        message = f"{label}: Ray itself was killed ({type(error).__name__}); the same command continues"
        raise SpanwrightError(message) from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise SpanwrightError(
            f"{label}: its worker died {RETRIES + 1} times ({type(error).__name__}: {reason}). "
            "Memory is the usual cause: use fewer workers (data.workers) or smaller splits (data.split_bytes)"
        ) from error


def _session_folder() -> Path:
    """A new folder for Ray's sockets and logs; those of processes that were killed are removed.

    Its path is short: Unix sockets live below it, and their paths must stay under 108 bytes.
    """
    for path in _SESSIONS.glob(f"{_SESSION_PREFIX}*"):
        process = path.name.removeprefix(_SESSION_PREFIX).partition("-")[0]
        if not Path("/proc", process).exists() and path.stat().st_uid == os.getuid():
            shutil.rmtree(path, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_SESSION_PREFIX}{os.getpid()}-", dir=_SESSIONS))


def _prepare_environment() -> None:
    """Settings that Ray reads from the environment when it is imported or started."""
    if "RAY_AUTH_MODE" not in os.environ and "ray" in sys.modules and not sys.modules["ray"].is_initialized():
        raise SpanwrightError("Ray was imported too early to be started safely: set RAY_AUTH_MODE=token before Python")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # added to ours; with Ray's 15 anybody else's work goes first
    # Else Ray registers this process once it has workers, and never if one of them dies before. Ray 2.60 waits for that
    # with the interpreter's lock: no limit of ours could end it.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
