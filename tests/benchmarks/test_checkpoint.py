"""The checkpoint benchmark runs and reports what the documentation names."""

import json
import subprocess
import sys


def test_it_prints_one_line_with_figures_and_ratios() -> None:
    command = [sys.executable, "-m", "benchmarks.checkpoint", "--json", "--megabytes", "12", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    outcome = json.loads(done.stdout)
    assert outcome["benchmark"] == "checkpoint"
    assert set(outcome["ratios"]) == {"stall_sync_vs_async", "save_vs_raw_disk", "first_batch_early_vs_late"}
    assert set(outcome["figures"]["first_batch_ms"]) == {"step 10", "step 10,000", "step 10,000,000"}
    assert all(figure["median"] > 0.0 for figure in outcome["figures"]["seconds"].values())
