"""Random ranks killed at random times: no checkpoint is wrong, none unloadable, none acknowledged and lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("trials", [12, pytest.param(240, marks=pytest.mark.long)])
def test_after_sigkill_at_a_random_time_nothing_acknowledged_is_lost(tmp_path: Path, trials: int) -> None:
    command = [sys.executable, str(Path(__file__).with_name("killed_ranks.py")), str(tmp_path), str(trials), "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=1000)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    assert report["kills"] >= trials
    assert report["inside_a_save"] >= trials // 4, "few kills hit a save"
    assert report["acknowledged"] >= report["kills"]
