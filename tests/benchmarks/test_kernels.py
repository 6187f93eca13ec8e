"""The attention and rows benchmarks as they are called, tiny: one JSON line whose ratios are those of its figures."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.attention import arguments, measure
from benchmarks.attention_workloads import GOALS, LONG, MAIN, SHORT, goals_of
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
    names = [f"{ratio}{suffix}" for suffix in ("", "_causal_b8_h6_l512") for ratio in GOALS]
    assert [goal["name"] for goal in outcome["goals"]] == names
    assert all(goal["met"] == (ratios[goal["name"]] >= goal["goal"]) for goal in outcome["goals"])


@pytest.mark.usefixtures("one_thread")
def test_a_goal_whose_workload_was_left_out_is_not_met() -> None:
    options = ["--rounds", "1", "--shrink", "16", "--workloads", "cross_b8_h6_l128_l512"]
    outcome = measure(arguments().parse_args(options)).as_json()
    goals = {goal["name"]: goal for goal in outcome["goals"]}
    assert [(goals[name]["reached"], goals[name]["met"]) for name in GOALS] == [(None, False)] * len(GOALS)
    assert "fwdbwd_vs_eager_cross_b8_h6_l128_l512" in outcome["ratios"].keys() - goals, "a goal for a learned bias"
    assert goals["fwdbwd_vs_sdpa_nobias_cross_b8_h6_l128_l512"]["goal"] == GOALS["fwdbwd_vs_sdpa_nobias"]


def test_long_sequences_are_to_reach_what_short_ones_did_and_the_goal_at_least() -> None:
    reached = {f"fwdbwd_vs_eager_{SHORT}": 5.0, f"fwdbwd_share_of_matmul_{SHORT}": 0.1, f"fwdbwd_vs_eager_{LONG}": 4.5}
    goals = goals_of((SHORT, LONG), reached)
    assert goals[f"fwdbwd_vs_eager_{LONG}"] == 5.0
    assert goals[f"fwdbwd_share_of_matmul_{LONG}"] == GOALS["fwdbwd_share_of_matmul"]
    assert goals_of((LONG,), {})[f"fwdbwd_vs_eager_{LONG}"] == GOALS["fwdbwd_vs_eager"]


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
