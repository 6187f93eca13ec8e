"""The claims: what is asked, how it is counted, and one of them from corpus to verdict at a tiny size."""

import dataclasses
import json
import re
import shutil
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.claims.__main__ import CLAIMS, main
from benchmarks.claims.claim import verdict
from benchmarks.claims.cloze import QUESTIONS
from benchmarks.claims.flops import training_flops
from benchmarks.claims.runs import Runs, Size
from benchmarks.claims.token_roles import NO_ROLE, ROLES, roles_of
from pipeline.batch import IGNORED_LABEL, Batch
from pipeline.evaluation.bm25 import bm25_scores, words_of
from pipeline.evaluation.intervals import Interval
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = Size(steps=3, windows=4)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A small corpus of code and pages, and no run yet."""
    folder = tmp_path_factory.mktemp("claims")
    for package in ("json", "logging", "importlib"):
        shutil.copytree(Path(sysconfig.get_path("stdlib")) / package, folder / "corpus" / package)
    for name in ("first", "second", "third", "fourth"):
        sections = "".join(f"<h2>The {name} part {n}</h2><p>{f'It is about {name} things. ' * 8}</p>" for n in range(4))
        page = f"<html><body><h1>All of the {name}</h1><p>An introduction.</p>{sections}</body></html>"
        (folder / "corpus" / f"{name}.html").write_text(page, encoding="utf-8")
    (folder / "corpus.yaml").write_text(
        f"paths: [{folder / 'corpus'}]\ninclude: ['*.py', '*.html']\nhtml_text: simplified\nheldout_fraction: 0.4\n"
        "tokenizer: {vocab_size: 700, sample_bytes: 100_000}\nworkers: 1\n",
        encoding="utf-8",
    )
    made = Runs(folder / "cache", SIZE, folder / "corpus.yaml")
    made.prepare()
    return made


def test_a_claim_is_trained_asked_and_judged(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, size = runs.cache.parent / "corpus.yaml", ["--steps", str(SIZE.steps), "--windows", str(SIZE.windows)]
    command = ["mae_lm", "--cache", str(runs.cache), "--data", str(corpus), *size, "--seeds", "1", "--json"]
    main([*command, "--out", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    figures = found["figures"]
    assert figures["verdict"] == "nothing can be said (1 seed)"
    assert figures["tokens"] == SIZE.steps * SIZE.windows * 126
    ranks = {recipe: row["effective_rank"]["mean"] for recipe, row in figures["recipes"].items()}
    assert ranks.keys() == {"bert", "mae_lm"}
    assert all(1 <= rank <= 64 for rank in ranks.values())
    assert figures["gain"]["mean"] == ranks["mae_lm"] - ranks["bert"]
    assert found["ratios"]["mae_lm_effective_rank"] == pytest.approx(ranks["mae_lm"] / ranks["bert"])
    assert [json.loads(file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [found]

    main(command)
    again = capsys.readouterr()
    assert again.err.count("done before, nothing changed") == 3  # the dataset, and both runs
    assert json.loads(again.out)["figures"] == figures


def test_runs_of_a_seed_read_the_same_text_in_the_same_order(runs: Runs) -> None:
    def windows(recipe: str) -> list[list[int]]:
        micro_batches = open_data(runs.config(recipe, 1)).micro_batches
        return [micro_batches.source.sample(position).tokens.tolist() for position in range(8)]

    assert windows("bert") == windows("dupmae") == windows("electra") == windows("ul2") == windows("3ml")
    other_seed = open_data(runs.config("bert", 2)).micro_batches
    assert [other_seed.source.sample(position).tokens.tolist() for position in range(8)] != windows("bert")


def test_the_cloze_hides_the_same_tokens_from_encoders_with_and_without_masks(runs: Runs) -> None:
    labels = []
    for recipe, view in (("bert", "encoder"), ("3ml", "decoder")):
        heldout = open_data(runs.config(recipe, 0, *QUESTIONS)).heldout
        assert heldout is not None
        found = heldout.micro_batch_at(0).views[view].labels
        labels.append(found[found != IGNORED_LABEL].tolist())
    assert labels[0] == labels[1]
    assert len(labels[0]) > 10


def without_tail(view: Batch) -> Batch:
    """The view without the rows that belong to no sequence, which torch would count."""
    rows = {
        field.name: value[: view.num_rows]
        for field in dataclasses.fields(view)
        if field.name != "cu_seqlens" and (value := getattr(view, field.name)) is not None
    }
    return dataclasses.replace(view, **rows)


def test_flops_are_those_that_torch_counts(runs: Runs) -> None:
    """But for attention, which a kernel of our own computes."""
    for recipe in ("bert", "3ml"):
        config = runs.config(recipe, 0)
        views = {name: without_tail(view) for name, view in open_data(config).micro_batches[0].to("cpu").views.items()}
        objective = build_objective(config.objective, config.model, runs.tokenizer.vocab_size, 0)
        objective.requires_grad_(False)  # else the head computes its gradient in the forward
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            objective(views)
        ours = training_flops(config, views, runs.tokenizer.vocab_size) / 3
        inner = config.model.num_heads * config.model.d_kv
        for view, layers in (("encoder", config.model.num_layers), ("decoder", config.objective.get("late_layers", 0))):
            if layers:
                ours -= layers * 4 * inner * int(views[view].cu_seqlens.diff().long().square().sum())
        assert counter.get_total_flops() == ours


def test_three_ml_trains_for_its_share_of_the_compute(runs: Runs) -> None:
    long = Runs(runs.cache, Size(1000, 4), None)
    steps = long.config("3ml", 0).training.steps
    spent = steps * long.step_flops("3ml", 0) / (1000 * long.step_flops("bert", 0))
    assert spent == pytest.approx(0.78, abs=0.001)


SOURCE = '''class Box(Base):
    """Holds \\u00e9 things."""
    size = f(x, key=3)  # how many
    def put(self, it):
        return self.items.append(it.name)
'''


def test_the_role_of_a_name_depends_on_its_neighbours() -> None:
    roles = roles_of(SOURCE)

    def role(text: str) -> str:
        found = re.search(rf"(?<!\w){re.escape(text)}(?!\w)", SOURCE)
        assert found is not None
        assert len(set(roles[found.start() : found.end()])) == 1
        return ROLES[roles[found.start()]]

    named = {
        name: role(name) for name in ("class", "Box", "Base", "size", "f", "x", "key", "3", "put", "self", "append")
    }
    assert named == {
        "class": "keyword", "Box": "definition", "Base": "name", "size": "name", "f": "call", "x": "name",
        "key": "argument", "3": "number", "put": "definition", "self": "name", "append": "method",
    }  # fmt: skip
    assert role('"""Holds \\u00e9 things."""') == "docstring"
    assert role("# how many") == "comment"
    assert role("items") == "attribute"
    assert roles[SOURCE.index("\n")] == NO_ROLE


def test_what_is_not_python_has_no_roles() -> None:
    assert set(roles_of("def f(:\n  'unfinished")) == {NO_ROLE}


def test_bm25_finds_parts_of_names() -> None:
    assert words_of("def getHTTPResponse(max_size=10)") == ["def", "get", "http", "response", "max", "size", "10"]
    scores = bm25_scores(["the maximal size", "?"], ["def f(max_size): pass", "def g(colour): pass"])
    assert scores[0, 0] > scores[0, 1]
    assert np.array_equal(scores[1], [0, 0])


def test_a_verdict_needs_an_interval_on_one_side() -> None:
    assert verdict(Interval(0.02, 0.01, 0.03), None, 3) == "shown"
    assert verdict(Interval(0.02, -0.01, 0.05), None, 3) == "not shown at this size"
    assert verdict(Interval(-0.02, -0.03, -0.01), None, 3) == "the opposite"
    assert verdict(Interval(-0.02, -0.03, -0.01), None, 3, margin=0.05) == "shown"


def test_few_seeds_are_judged_by_their_items_and_the_verdict_says_so() -> None:
    alone = Interval(0.02, None, None)
    assert verdict(alone, Interval(0.02, 0.01, 0.03), 1) == "shown (1 seed)"
    assert verdict(Interval(0.02, -0.3, 0.4), Interval(0.02, -0.01, 0.03), 2) == "not shown at this size (2 seeds)"
    assert verdict(alone, None, 1) == "nothing can be said (1 seed)"


def test_every_claim_has_a_name_of_its_own_and_says_where_it_comes_from() -> None:
    assert set(CLAIMS) == {"three_ml", "electra", "rts", "mae_lm", "dupmae", "cocondenser", "seed_encoder", "ul2"}
    assert all("arXiv" in claim.source for claim in CLAIMS.values())
