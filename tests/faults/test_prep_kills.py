"""A preparation whose workers, drivers and Ray nodes are killed again and again, with real SIGKILLs.

1. The same command is run until it succeeds; at random moments one of its processes is killed.
2. Meanwhile a reader looks at the dataset folder: every shard whose index is there is whole, and a manifest verifies.
3. In the end the files are those of a preparation that nobody disturbed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from data_prep.build import Build
from data_prep.calls import execute
from data_prep.config import DataConfig
from data_prep.driver import RETRIES
from data_prep.progress import NoProgress
from data_prep.shards import Dataset, audit_dataset

PREPARE = """
import sys
from pathlib import Path
from data_prep import waves
from data_prep.driver import DataConfig, SpanwrightError, prepare
waves.QUICK_BYTES = -1  # this corpus is small, and there shall be workers to kill
try:
    prepare(DataConfig.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
except SpanwrightError as error:
    sys.stderr.write(f"\\nspanwright: {error}")
    sys.exit(1)
"""
# Looks until its standard input is closed; prints what it saw. An index of the dataset comes after its tar, so a tar
# beside an index is whole; the manifest goes first and comes last, so what is wrong beside one that stays is wrong.
READ = """
import json, sys, threading
from pathlib import Path
from data_prep.errors import InputError
from data_prep.shards import audit_dataset, canonical
from data_prep.shards.manifest import decode_index

out, stop = Path(sys.argv[1]), threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
looks, whole_shards, manifests, torn = 0, 0, 0, []

def stamp(path):
    try:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns
    except FileNotFoundError:
        return None

def look_at_shard(index):
    before = stamp(index)
    try:
        said, tar = decode_index(index.read_bytes()), index.with_suffix(".tar").read_bytes()
    except FileNotFoundError:
        return 0
    except ValueError as error:
        torn.append(f"{index}: {error}")
        return 0
    if (len(tar), canonical.digest(tar)) != (said.size, said.sha256) and stamp(index) == before:
        torn.append(f"{index}: not that of the tar beside it")
    return 1

def look_at_dataset():
    before = stamp(out / "manifest.json")
    try:
        problems = audit_dataset(out).problems
    except InputError:
        return 0
    if problems and stamp(out / "manifest.json") == before:
        torn.extend(problems)
    return 1

stopping = False
while not stopping:
    stopping = stop.wait(0.01)  # and a last look when it is over
    looks += 1
    manifests += look_at_dataset()
    for index in [*out.glob("*.index"), *out.glob(".work/*/[!.]*.index")]:
        whole_shards += look_at_shard(index)
print(json.dumps({"looks": looks, "whole_shards": whole_shards, "manifests": manifests, "torn": torn}))
"""
STDLIB = Path(sysconfig.get_path("stdlib"))
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Modules of the standard library as documents: some twice, some nearly twice, in four files."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = [path.read_text() for package in ("json", "email", "logging") for path in (STDLIB / package).glob("*.py")]
    texts = sorted(texts)
    copies = [*texts[::4], *(f"{text}\n# copied\n" for text in texts[1::4])]
    for number in range(4):
        lines = [json.dumps({"text": text}) + "\n" for text in [*texts, *copies][number::4]]
        (folder / f"{number}.jsonl").write_text("".join(lines))
    return folder


CONFIG: dict[str, Any] = {
    "stages": ["clean", {"kind": "boilerplate", "unit": "paragraph"}, "dedup"],
    "columns": {"words": "unicode", "weight": "idf"},
    "heldout_fraction": 0.1,
    "split_bytes": 65536,
    "tokenizer": {"vocab_size": 800, "sample_bytes": 65536},
    "shards": {"chunk_tokens": 8192, "window_sizes": [128]},
    "workers": 2,
}
SELECT = {"kind": "select", "groups": [{"name": "first", "source": "0.jsonl", "weight": 2.0}]}


def write_config(folder: Path, corpus: Path, **changes: Any) -> Path:
    """A config file for `corpus`."""
    path = folder / "config.json"
    path.write_text(json.dumps({**CONFIG, "paths": [str(corpus)], **changes}))
    return path


@pytest.fixture(scope="module")
def config(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stages of every sort: local, with a decision, at the end."""
    return write_config(tmp_path_factory.mktemp("config"), corpus, stages=[*CONFIG["stages"], SELECT])


def build(config: Path, out: Path) -> Path:
    """The dataset as tasks in this process make it, one after another."""

    def run_tasks(function: Any, tasks: Any, work: Any, on_done: Any) -> None:
        for task in tasks:
            on_done(task, execute(function, task, work.root))

    out.mkdir()
    Build(DataConfig.model_validate_json(config.read_text()), out, run_tasks, NoProgress()).run()
    return out


@pytest.fixture(scope="module")
def undisturbed(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that nobody disturbed."""
    return build(config, tmp_path_factory.mktemp("undisturbed") / "out")


def start(config: Path, out: Path) -> subprocess.Popen[bytes]:
    """The command, in a session of its own: Ray's processes belong to it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", PREPARE, str(config), str(out)]
    return subprocess.Popen(command, env=clean, start_new_session=True, stderr=subprocess.PIPE)


def processes(session: int) -> dict[int, str]:
    """Living processes of a session and their command lines."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found[int(stat.parent.name)] = (stat.parent / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
    return found


def busy_workers(session: int) -> list[int]:
    """Workers in the middle of a task."""
    return sorted(pid for pid, command in processes(session).items() if command.startswith("ray::execute"))


def workers(session: int) -> list[int]:
    """Workers in the middle of a task, and where there are none, the idle ones."""
    idle = sorted(pid for pid, command in processes(session).items() if command.startswith("ray::IDLE"))
    return busy_workers(session) or idle


def raylets(session: int) -> list[int]:
    """The process that starts the workers."""
    return sorted(pid for pid, command in processes(session).items() if "raylet/raylet" in command.split("\0")[0])


VICTIMS: dict[str, Callable[[int], list[int]]] = {"worker": workers, "driver": lambda pid: [pid], "raylet": raylets}


@dataclass
class Killer:
    """Kills processes of the current driver, one of a kind in `plan` after another, until stopped."""

    plan: list[str]
    rng: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    driver: subprocess.Popen[bytes] | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Wait, kill, and so on. The plan's first victims live a moment at least: they have begun to work."""
        while self.plan and not self.stopped.wait(self.rng.uniform(0.05, 0.6)):
            driver = self.driver
            if driver is None or driver.poll() is not None or not workers(driver.pid):
                continue
            if self.plan[0] != "worker" and self.stopped.wait(self.rng.uniform(0, 2.5)):
                return
            self.kill(driver)

    def kill(self, driver: subprocess.Popen[bytes]) -> None:
        """One kill, counted only if there was somebody to kill and the driver had not come to its end."""
        victims = VICTIMS[self.plan[0]](driver.pid)
        if not victims or driver.poll() is not None:
            return
        try:
            os.kill(self.rng.choice(victims), signal.SIGKILL)
        except ProcessLookupError:
            return
        self.killed[self.plan.pop(0)] += 1


@dataclass
class Reader:
    """The reader's process."""

    process: subprocess.Popen[str]

    @classmethod
    def of(cls, out: Path) -> "Reader":
        """Begin to look at a dataset folder."""
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return cls(subprocess.Popen([sys.executable, "-c", READ, str(out)], **pipes))

    def seen(self) -> dict[str, Any]:
        """Stop, and say what was seen."""
        said, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        return json.loads(said)


def prepare_under_kills(config: Path, out: Path, killer: Killer) -> Iterator[tuple[int, str]]:
    """Run the command until it succeeds: the exit code and message of every run."""
    thread = threading.Thread(target=killer.run)
    thread.start()
    try:
        for _ in range(60):
            killer.driver = start(config, out)
            _, said = killer.driver.communicate(timeout=900)  # longer than the driver waits for a start that hangs
            yield killer.driver.returncode, said.decode()
            if killer.driver.returncode == 0:
                return
    finally:
        killer.stopped.set()
        thread.join()


def files(out: Path) -> Files:
    """Every file of the dataset by its path."""
    paths = sorted(path for path in out.rglob("*") if path.is_file() and ".work" not in path.parts)
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def document_ids(out: Path) -> list[str]:
    """Of both splits, in order."""
    splits = [Dataset.open(out).split(name) for name in ("train", "heldout")]
    return [id for split in splits for number in range(split.num_chunks) for id in split.chunk(number).ids]


def assert_survives(seed: int, kills: Counter[str], config: Path, undisturbed: Path, out: Path) -> None:
    """A preparation under `kills` in an order that follows from the seed gives the undisturbed files."""
    rng = random.Random(seed)
    plan = rng.sample([*kills.elements()], kills.total())
    killer, reader, ends = Killer(plan, rng), Reader.of(out), []
    while killer.plan or not ends:  # all done before all kills: everything once more
        (out / "manifest.json").unlink(missing_ok=True)
        for record in out.glob(".work/records/*"):
            record.unlink()
        ends += prepare_under_kills(config, out, killer)
        killer.stopped.clear()
    seen = reader.seen()
    assert killer.killed == kills
    assert [code for code, _ in ends].count(-signal.SIGKILL) >= kills["driver"] > 0
    assert all(said.count("\nspanwright: ") + said.count("\nerror ") == 1 for code, said in ends if code == 1), ends
    assert (seen["torn"], audit_dataset(out).problems) == ([], [])
    assert min(seen["looks"], seen["whole_shards"], seen["manifests"]) > 0
    assert files(out) == files(undisturbed)
    assert len(set(document_ids(out))) == len(document_ids(out))
    assert not list((out / ".work").rglob(".*.tmp"))


def test_6_kills_change_no_byte_and_nobody_sees_a_torn_file(config: Path, undisturbed: Path, tmp_path: Path) -> None:
    assert_survives(0, Counter(worker=5, driver=1), config, undisturbed, tmp_path / "out")


@pytest.mark.long
@pytest.mark.timeout(3 * 3600)  # ten kills take two minutes of a quiet machine, and as much as an hour of a busy one
@pytest.mark.parametrize("seed", range(1, 7))
def test_60_kills_over_6_seeds_change_no_byte(seed: int, config: Path, undisturbed: Path, tmp_path: Path) -> None:
    kills = Counter(worker=6, driver=3, raylet=1)
    assert_survives(seed, kills, config, undisturbed, tmp_path / "out")


def kill_tokenizers(driver: subprocess.Popen[bytes], out: Path) -> set[int]:
    """Kill every worker that tokenizes, until the driver ends."""
    records, killed = out / ".work" / "records", set[int]()
    while driver.poll() is None:
        # The task makes this folder when it begins: the one before it may still be on its way out.
        if list((out / ".work").glob("tokenize-*")) and not list(records.glob("tokenize-*")):
            for pid in set(busy_workers(driver.pid)) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.002)
    return killed


def test_a_shard_that_every_retry_dies_on_is_named_and_made_by_a_rerun(corpus: Path, tmp_path: Path) -> None:
    config, out = write_config(tmp_path, corpus, split_bytes=2**30), tmp_path / "out"
    driver = start(config, out)
    killed = kill_tokenizers(driver, out)
    _, said = driver.communicate(timeout=300)
    assert (len(killed), driver.returncode) == (RETRIES + 1, 1), said
    assert f"spanwright: tokenize 4 files, 0.jsonl to 3.jsonl: its worker died {RETRIES + 1} times" in said.decode()
    assert not (out / "manifest.json").exists()
    assert not list(out.glob(".work/tokenize-*/*.index"))
    rerun = start(config, out)
    _, said = rerun.communicate(timeout=300)
    assert rerun.returncode == 0, said
    assert files(out) == files(build(config, tmp_path / "undisturbed"))
