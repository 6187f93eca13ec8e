"""The length-generalisation suite, tiny: its tasks, a model that learns, and what it prints."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.length_generalisation import CLAIMS, accuracy, half_interval, measure, parser, train
from benchmarks.length_tasks import BEGIN, FIRST_SYMBOL, MIDDLE, QUESTIONS, SEGMENT_SYMBOLS, SYMBOLS, TASKS, batch_of
from pipeline.batch import IGNORED_LABEL

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("task", "turned"), [("copy", False), ("reverse", True)])
def test_a_string_is_answered_by_itself_or_its_mirror_image(task: str, turned: bool) -> None:
    tokens = TASKS[task](5, np.random.default_rng(0)).tokens
    symbols, answer = tokens[1:6], tokens[7:]
    assert (tokens[0], tokens[6]) == (BEGIN, MIDDLE)
    assert answer == (symbols[::-1] if turned else symbols)


def test_recall_asks_for_the_values_of_keys_that_were_given_once() -> None:
    string = TASKS["recall"](7, np.random.default_rng(0))
    pairs = list(zip(string.tokens[1:15:2], string.tokens[2:15:2], strict=True))
    assert len(dict(pairs)) == 7
    asked = list(zip(string.tokens[16::2], string.tokens[17::2], strict=True))
    assert len(asked) == QUESTIONS
    assert all(dict(pairs)[key] == value for key, value in asked)
    assert [token for token, is_answer in zip(string.tokens, string.is_answer, strict=True) if is_answer] == [
        value for _, value in asked
    ]


def test_a_sentence_is_rewritten_symbol_by_symbol_and_the_first_is_given() -> None:
    string = TASKS["rewrite"](3, np.random.default_rng(0))
    size = (len(string.tokens) - 1) // 4
    sentences = [string.tokens[start : start + size] for start in range(1, len(string.tokens), size)]
    assert string.tokens[0] == BEGIN
    assert [sentence[0] for sentence in sentences] == [MIDDLE] * 4
    for before, after in pairwise(sentences):
        moved = [(symbol - FIRST_SYMBOL + 1) % SYMBOLS + FIRST_SYMBOL for symbol in before[1:]]
        assert after[1:] == moved
    assert string.is_answer == [False] * (size + 1) + ([False] + [True] * (size - 1)) * 3
    assert string.begins == [True] + ([True] + [False] * (size - 1)) * 4


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_labelled_with_the_answer_that_follows(task: str) -> None:
    rng = np.random.default_rng(1)
    strings = [TASKS[task](length, rng) for length in (1, 6)]
    view = batch_of(strings, sample=3, two_levels=False)
    for n, string in enumerate(strings):
        rows = view.sequence(n)
        assert view.tokens[rows].tolist() == string.tokens[:-1]
        assert view.positions[rows].tolist() == list(range(len(string.tokens) - 1))
        answers = [t if a else IGNORED_LABEL for t, a in zip(string.tokens[1:], string.is_answer[1:], strict=True)]
        assert view.labels is not None
        assert view.labels[rows].tolist() == answers


def test_segments_are_runs_of_symbols_or_pairs() -> None:
    rng = np.random.default_rng(2)
    levels = batch_of([TASKS["copy"](SEGMENT_SYMBOLS + 2, rng)], 0, two_levels=True).positions.tolist()
    first = [[1, place] for place in range(SEGMENT_SYMBOLS)] + [[2, 0], [2, 1]]
    assert levels == [[0, 0], *first, [3, 0], *[[segment + 3, place] for segment, place in first[:-1]]]
    levels = batch_of([TASKS["recall"](2, rng)], 0, two_levels=True).positions.tolist()
    assert levels[:6] == [[0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [3, 0]]


def test_a_small_model_learns_and_what_it_sees_repeats() -> None:
    given = parser().parse_args(["--train-length", "4", "--steps", "60"])
    models = [train("copy", "rope", False, 5, given) for _ in range(2)]
    scores = [accuracy(model, "copy", 4, False, 5) for model in models]
    assert scores[0] == scores[1] > 0.25  # chance is 1 / 8
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)


def test_it_measures_every_claim_and_continues_with_the_trials_that_are_done(tmp_path: Path) -> None:
    keep = tmp_path / "trials.jsonl"
    options = ["--steps", "1", "--tasks", "copy", "--processes", "1", "--train-length", "4", "--keep", str(keep)]
    outcome = measure(parser().parse_args([*options, "--seeds", "1"])).as_json()
    json.dumps(outcome, allow_nan=False)
    assert outcome["ratios"].keys() == CLAIMS.keys()
    assert set(outcome["figures"]["longer_copy"]) >= {"none", "fire", "bipe", "rope", "rope+randomized"}
    lines = keep.read_text(encoding="utf-8")
    again = measure(parser().parse_args([*options, "--seeds", "1"])).as_json()
    assert again["figures"] == outcome["figures"]
    assert [claim for claim in CLAIMS if outcome["ratios"][claim] is None] == ["bipe_gain"], "it is of another task"
    some = measure(
        parser().parse_args([*options, "--seeds", "1", "--schemes", "fire", "rope", "alibi", "t5"])
    ).as_json()
    assert some["ratios"] == {claim: outcome["ratios"][claim] if claim == "fire_gain" else None for claim in CLAIMS}
    assert keep.read_text(encoding="utf-8") == lines


def test_an_interval_is_students() -> None:
    quantile = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # with two degrees of freedom it has a closed form
    assert half_interval([1.0, 2.0, 3.0]) == pytest.approx(quantile / math.sqrt(3), rel=1e-9)
    assert half_interval([1.0]) is None
