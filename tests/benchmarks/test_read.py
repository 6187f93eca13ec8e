"""The benchmark of reading shards runs, and every contender reads all tokens."""

import json
import subprocess
import sys

from benchmarks.read import GOALS


def test_it_prints_one_line_with_figures_and_ratios() -> None:
    command = [sys.executable, "-m", "benchmarks.read", "--json", "--megatokens", "1", "--rounds", "1"]
    outcome = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    rates = outcome["figures"]["mtok_per_s_core"]
    ours = {"chunks", "chunks_first", "windows", "windows_one_by_one"}
    assert set(rates) == ours | {"webdataset_single", "webdataset_256", "memmap"}
    assert all(rate > 0.0 for rate in rates.values())
    assert set(GOALS) < set(outcome["ratios"])
    assert outcome["figures"]["megatokens"] == 1.0
