"""What launch_local says when ranks cannot train (with ranks that can: tests/pipeline/training/test_resume.py)."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import InputError
from launch.local import launch_local
from pipeline.config import RunConfig, save_config
from tests.processes import wait_for


def command(run_dir: Path, ranks: int, preamble: str = "pass") -> list[str]:
    call = f"{preamble}; import launch.local as l; raise SystemExit(l.launch_local(l.Path({str(run_dir)!r}), {ranks}))"
    return [sys.executable, "-c", call]


def launch(run_dir: Path, ranks: int, preamble: str = "pass") -> subprocess.CompletedProcess[str]:
    arguments = command(run_dir, ranks, preamble)
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run whose dataset was never prepared."""
    sections: dict[str, Any] = {
        "recipe": {"name": "t5", "family": "test", "source": "none", "summary": "none", "export": "none"},
        "data": {"paths": ["unused.txt"], "dir": str(tmp_path / "data")},
        "model": {"d_model": 32, "d_ff": 64, "num_layers": 1, "num_heads": 2},
        "corruption": {
            "select": {"kind": "t5_spans"},
            "replace": {"kind": "sentinel_per_span"},
            "layout": {"kind": "sentinel_targets"},
        },
        "objective": {"kind": "denoising"},
        "training": {"steps": 2, "global_batch": 4, "micro_batch": 1},
        "run": {"dir": str(tmp_path / "run")},
    }
    save_config(RunConfig.model_validate(sections))
    return tmp_path / "run"


def test_a_folder_that_is_no_run_is_one_message(tmp_path):
    done = launch(tmp_path, ranks=2)
    assert done.returncode == 2
    assert "not a run folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_is_trained_by_one_process_at_a_time(run_dir):
    descriptor = os.open(run_dir, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InputError, match=r"run: another process trains this run; wait for it, stop it"):
        launch_local(run_dir, ranks=1)
    os.close(descriptor)
    assert launch_local(run_dir, ranks=1) == 2  # it has no data, which its rank tells


def test_a_missing_dataset_is_one_message(run_dir):
    done = launch(run_dir, ranks=2)
    assert done.returncode == 2
    assert str(run_dir.parent / "data") in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ranks_that_do_not_divide_the_batch_are_refused_with_those_that_do(run_dir):
    done = launch(run_dir, ranks=3)
    assert done.returncode == 2
    assert "these numbers of ranks work: 1, 2, 4" in done.stderr


def put_in_every_ranks_way(run_dir: Path, code: str) -> str:
    """Have `code` run in place of a library that ranks import as they start; the preamble that makes it found."""
    (run_dir.parent / "data").mkdir()
    (run_dir.parent / "broken").mkdir()
    (run_dir.parent / "broken" / "safetensors.py").write_text(code)
    return f"import os; os.environ['PYTHONPATH'] = {str(run_dir.parent / 'broken')!r}"


def crash_in_every_rank(run_dir: Path, message: str) -> str:
    """See `put_in_every_ranks_way`: the code raises `message`, a Python expression."""
    return put_in_every_ranks_way(run_dir, f"import os; raise RuntimeError({message})")


def test_a_crash_shows_the_end_of_the_ranks_log(run_dir):
    done = launch(run_dir, ranks=1, preamble=crash_in_every_rank(run_dir, "'a broken library'"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"rank 0 failed with exit code 1; the last lines of {run_dir}/train/logs/rank-0.log:")
    assert "RuntimeError: a broken library" in done.stderr
    assert len(done.stderr.splitlines()) <= 21


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ranks_that_are_stopped_while_they_start_have_not_failed(number: signal.Signals, run_dir: Path) -> None:
    started = run_dir / "started"
    preamble = put_in_every_ranks_way(run_dir, f"import time; open({str(started)!r}, 'w').close(); time.sleep(600)")
    process = subprocess.Popen(command(run_dir, 1, preamble), stderr=subprocess.PIPE, text=True)
    wait_for(started.exists)
    process.send_signal(number)
    _, said = process.communicate()
    assert (process.returncode, said) == (75, "stopped before the first step; the same command continues\n")


def test_ranks_keep_freed_memory_unless_the_environment_says_otherwise(run_dir):
    told = "' '.join(f'{name}={os.environ[name]}' for name in sorted(os.environ) if name.startswith('MALLOC_'))"
    preamble = crash_in_every_rank(run_dir, told) + "; os.environ['MALLOC_TOP_PAD_'] = '4096'"
    done = launch(run_dir, ranks=1, preamble=preamble)
    assert "MALLOC_MMAP_MAX_=0 MALLOC_TOP_PAD_=4096 MALLOC_TRIM_THRESHOLD_=8589934592" in done.stderr
