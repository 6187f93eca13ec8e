"""The benchmark of a training step: what it counts is what others count, and the whole command runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks.frame import Outcome
from benchmarks.masking_peers import t5_collator
from benchmarks.train_step.__main__ import GOALS, MOST
from benchmarks.train_step.corpus import corrupted_lengths, window_of
from benchmarks.train_step.products import products
from data_prep.errors import InputError
from pipeline.model.config import ModelConfig

BATCH, SOURCE, TARGET, VOCABULARY = 2, 24, 10, 96


def test_the_products_of_a_step_are_three_times_those_of_transformers_t5() -> None:
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 3}
    peer = T5ForConditionalGeneration(
        T5Config(
            **shape, vocab_size=VOCABULARY, feed_forward_proj="gated-gelu", use_cache=False, decoder_start_token_id=0
        )
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        peer(input_ids=torch.ones(BATCH, SOURCE, dtype=torch.long), labels=torch.ones(BATCH, TARGET, dtype=torch.long))
    found = products(ModelConfig(**shape), VOCABULARY, BATCH, (SOURCE, TARGET))
    unseen_half = 2 * 4 * 0.5 * BATCH * 3 * TARGET**2 * 8  # of the decoder's pairs, which transformers computes too
    assert sum(product.flops * count for product, count in found.items()) == 3 * (
        counter.get_total_flops() - unseen_half
    )


@pytest.mark.parametrize("window", [568, 96, 50])
def test_a_whole_window_fills_the_rows_that_all_batches_are_padded_to(window: int) -> None:
    encoder, labels, _ = t5_collator(torch.arange(window).numpy()[None] + 200, 0.15, 3.0, 7, 1)
    assert (encoder.shape[1], labels.shape[1]) == corrupted_lengths(window)


def test_a_window_is_found_by_the_tokens_that_it_gives() -> None:
    assert window_of(512, 114) == 568
    with pytest.raises(InputError, match=r"--seq 512 100: no window gives these; 512 114 are the nearest"):
        window_of(512, 100)


def test_goals_say_whether_they_are_met_or_by_how_much_they_are_missed() -> None:
    ratios = {"fast": 1.5, "slow": 1.5, "small": 0.5, "large": 0.75, "unknown": None}
    found = Outcome("any", {}, ratios, {"fast": 1.5, "slow": 2.0, "unknown": 1.0}, most={"small": 0.5, "large": 0.6})
    goals = {goal["name"]: (goal["met"], goal["missed_by"]) for goal in found.as_json()["goals"]}
    assert goals == {
        "fast": (True, 0.0), "slow": (False, 0.25), "small": (True, 0.0), "large": (False, pytest.approx(0.25)),
        "unknown": (False, None),
    }  # fmt: skip


@pytest.mark.long
def test_the_command_measures_every_contender(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "benchmarks.train_step", "--json", "--model", "tiny", "--vocab-size", "2000",
        "--window", "96", "--batch", "2", "--rounds", "1", "--steps", "1", "--warm-up", "1", "--cache", str(tmp_path),
    ]  # fmt: skip
    outcome = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {*GOALS, *MOST} < set(outcome["ratios"])
    assert all(ratio > 0.0 for ratio in outcome["ratios"].values())
    assert {"forward", "backward", "optimizer"} < set(outcome["figures"]["parts_seconds"])
    assert outcome["figures"]["parts_seconds_of_two_ranks"]["communication"] > 0.0
    fixed = outcome["figures"]["fixed"]
    assert {name: run["padding"] for name, run in fixed.items()} == dict.fromkeys(fixed, 0.0)
    natural = outcome["figures"]["natural"]
    assert natural["eager"]["padding"] > 0.0 == natural["concatenated"]["padding"]
    assert outcome["ratios"]["fixed_vs_eager"] == pytest.approx(
        fixed["ours"]["tokens_per_s"] / fixed["eager"]["tokens_per_s"], rel=1e-3
    )
