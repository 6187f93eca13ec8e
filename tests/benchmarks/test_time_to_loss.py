"""The benchmark of time to a loss: where a curve comes down to a loss, and that the whole command runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.time_to_loss.judge import Point, reached

CURVE = [Point(0, 0, 0.0, 8.0), Point(10, 1000, 2.0, 6.0), Point(20, 2000, 4.0, 6.5), Point(30, 3000, 6.0, 5.5)]


def test_a_loss_is_reached_on_the_line_between_two_evaluations_at_the_first_time() -> None:
    assert reached(CURVE, 7.0) == Point(5, 500, 1.0, 7.0)
    assert reached(CURVE, 6.0) == Point(10, 1000, 2.0, 6.0)
    assert reached(CURVE, 5.75) == Point(28, 2750, 5.5, 5.75)
    assert reached(CURVE, 9.0) == CURVE[0]
    assert reached(CURVE, 5.0) is None


@pytest.mark.long
def test_the_command_trains_and_judges_every_contender(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "benchmarks.time_to_loss", "--json", "--vocab-size", "1000", "--window", "96",
        "--model", "{d_model: 32, d_kv: 8, d_ff: 64, num_layers: 1, num_heads: 2}", "--batch", "8", "--steps", "8",
        "--every", "4", "--rates", "1e-3", "1e-2", "--losses", "7.2", "5.0", "1.0", "--cache", str(tmp_path),
    ]  # fmt: skip
    outcome = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    curves = outcome["figures"]["curves"]
    assert {name: len(found) for name, found in curves.items()} == {
        "ours": 2, "eager": 2, "compiled": 1, "compiled_dynamic": 1,
    }  # fmt: skip
    for found in curves.values():
        for curve in found.values():
            assert [point[0] for point in curve] == [0, 4, 8]
            assert curve[-1][3] < curve[0][3]
    # The same weights, batches and dropout's shapes: compiled or not, only sums are taken in another order.
    first = [found[min(found)][0][3] for name, found in curves.items() if name != "ours"]
    assert first == pytest.approx([first[0]] * 3, rel=1e-6)
    assert outcome["ratios"]["seconds_vs_eager"] > 0.0
