"""The attention and rows benchmarks as they are called, tiny: one JSON line whose ratios are those of its figures."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.attention import GOALS, MAIN, arguments, measure
from benchmarks.rows import ALONE, STEPS

ROOT = Path(__file__).parents[2]


def outcome_of(benchmark: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", "--json", "--rounds", "1", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    outcome: dict[str, Any] = json.loads(line)
    assert list(outcome) == ["benchmark", "hardware", "figures", "ratios", "goals"]
    assert outcome["benchmark"] == benchmark
    return outcome


def test_attentions_ratios_are_those_of_its_rates() -> None:
    outcome = outcome_of("attention", "--shrink", "16", "--workloads", MAIN, "causal_b8_h6_l512")
    ratios = outcome["ratios"]
    for name, suffix in ((MAIN, ""), ("causal_b8_h6_l512", "_causal_b8_h6_l512")):
        rates = outcome["figures"]["gflop_per_s"][name]
        for part in ("fwd", "fwdbwd"):
            ours = rates[f"{part}_ours"]
            for other in ("eager", "sdpa_nobias", "sdpa_bias", "ours_fire"):
                assert ratios[f"{part}_vs_{other}{suffix}"] == within_rounding(ours, rates[f"{part}_{other}"])
            assert ratios[f"{part}_share_of_matmul{suffix}"] == within_rounding(ours, rates[f"{part}_matmul"])
        most = within_rounding(6 / 7 * rates["fwdbwd_matmul"], rates["fwdbwd_eager"])
        assert ratios[f"fwdbwd_most_vs_eager{suffix}"] == most
    assert [goal["name"] for goal in outcome["goals"]] == list(GOALS)
    assert all(goal["met"] == (ratios[goal["name"]] >= goal["goal"]) for goal in outcome["goals"])


@pytest.mark.usefixtures("one_thread")
def test_a_goal_whose_workload_was_left_out_is_not_met() -> None:
    options = ["--rounds", "1", "--shrink", "16", "--workloads", "cross_b8_h6_l128_l512"]
    outcome = measure(arguments().parse_args(options)).as_json()
    assert [(goal["reached"], goal["met"]) for goal in outcome["goals"]] == [(None, False)] * len(GOALS)
    assert "fwd_vs_eager_cross_b8_h6_l128_l512" in outcome["ratios"]


def test_rows_ratios_are_those_of_its_times() -> None:
    outcome = outcome_of("rows", "--length", "16")
    assert outcome["figures"]["rows"] == 128
    assert list(outcome["ratios"]) == [*ALONE, *STEPS]
    for part, times in outcome["figures"]["milliseconds"].items():
        rounding = 0.005 / times["plain"] + 0.005 / times["kernels"] + 0.001
        assert outcome["ratios"][part] == pytest.approx(times["plain"] / times["kernels"], rel=2 * rounding)
    assert all(goal["met"] == (outcome["ratios"][goal["name"]] >= 1.0) for goal in outcome["goals"])


def within_rounding(rate: float, other: float) -> Any:
    """The quotient of two rates, which are printed with one decimal; a ratio has three."""
    rounding = 0.05 / rate + 0.05 / other
    return pytest.approx(rate / other, rel=2 * rounding, abs=0.001)
