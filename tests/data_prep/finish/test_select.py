"""select, through its observers, reductions and finish, on documents cut into units and parts in every way."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_prep.errors import InputError
from data_prep.finish import select
from data_prep.finish.finish import TokenizedDocument
from data_prep.finish.mixture import Wish, target_tokens
from data_prep.finish.select import Config
from data_prep.sources.document import Document
from data_prep.stages.stage import Decision, Part

Corpus = Sequence[tuple[Document, int]]  # documents and how many tokens they have


def corpus(sizes: dict[str, list[int]], lang: str | None = None) -> list[tuple[Document, int]]:
    """Documents by source."""
    return [
        (Document(f"{source}:{number}", "text", source, lang=lang), size)
        for source, all_sizes in sizes.items()
        for number, size in enumerate(all_sizes)
    ]


def tokens(document: Document, size: int) -> TokenizedDocument:
    return TokenizedDocument(document.id, np.arange(size, dtype=np.uint16))


def run(
    config: Config, documents: Corpus, cuts: Sequence[int] = (), parts: int = 1, split: str = "train"
) -> tuple[list[list[str]], dict[str, Any]]:
    """The ids that every unit's shard has, and what the reductions report of the groups."""
    units = [documents[a:b] for a, b in itertools.pairwise([0, *sorted(cuts), len(documents)])]
    with TemporaryDirectory() as name:
        root = Path(name)
        observed = [root / f"unit{number}" for number in range(len(units))]
        for folder, unit in zip(observed, units, strict=True):
            folder.mkdir()
            observer = select.observer(config, 1000)
            for document, size in unit:
                observer.add(document, np.zeros(size, np.uint16))
            observer.save(folder)
        inputs, report = observed, {}
        for reduction in select.REDUCTIONS:
            count = parts if reduction.partitioned else 1
            outputs = [root / f"{reduction.name}{number}" for number in range(count)]
            for number in reversed(range(count)):
                outputs[number].mkdir()
                report |= reduction.run(config, Part(inputs, observed, outputs[number], number, count))
            inputs = outputs
        finished = []
        for number, unit in enumerate(units):
            finish = select.finish(config, Decision(inputs, number), split)
            finished.append([document.id for document in finish(tokens(*each) for each in unit)])
    return finished, report


def sizes_of(documents: Corpus) -> dict[str, int]:
    return {document.id: size for document, size in documents}


def tokens_by_source(documents: Corpus, ids: Sequence[str]) -> Counter[str]:
    sizes, counted = sizes_of(documents), Counter[str]()
    for id in ids:
        original = id.split("#")[0]
        counted[original.split(":")[0]] += sizes[original]
    return counted


MIXED = corpus({"med/a": [7 + n % 5 for n in range(60)], "web/b": [50 + n % 31 for n in range(400)]})
MED, WEB = (sum(size for document, size in MIXED if document.source == source) for source in ("med/a", "web/b"))


def test_a_weight_repeats_a_group_and_leaves_the_rest_as_it_is() -> None:
    config = Config.model_validate({"groups": [{"name": "domain", "source": "med/*", "weight": 3}]})
    [ids], groups = run(config, MIXED)
    assert Counter(id.split("#")[0] for id in ids) == {
        document.id: 3 if document.source == "med/a" else 1 for document, _ in MIXED
    }
    assert groups == {
        "(rest): documents": 400,
        "(rest): documents after": 400,
        "(rest): tokens": WEB,
        "(rest): tokens after": WEB,
        "domain: documents": 60,
        "domain: documents after": 180,
        "domain: tokens": MED,
        "domain: tokens after": 3 * MED,
    }


def test_a_fractional_weight_is_reached_within_one_document() -> None:
    config = Config.model_validate({"groups": [{"name": "domain", "source": "med/*", "weight": 2.5}]})
    [ids], groups = run(config, MIXED)
    found = tokens_by_source(MIXED, ids)
    assert 2.5 * MED - 11 < found["med/a"] <= 2.5 * MED
    assert found["web/b"] == WEB
    assert groups["domain: tokens after"] == found["med/a"]
    assert groups["domain: documents after"] == sum(id.startswith("med") for id in ids)


def test_copies_have_names_of_their_own_and_come_after_all_first_ones() -> None:
    config = Config.model_validate({"groups": [{"name": "domain", "source": "med", "weight": 3}]})
    [ids], _ = run(config, corpus({"med": [5, 5], "web": [5]}))
    assert ids == ["med:0", "med:1", "web:0", "med:0#1", "med:1#1", "med:0#2", "med:1#2"]


def test_a_share_of_a_budget_is_reached_within_one_document() -> None:
    groups = [{"name": "domain", "source": "med/*", "share": 0.3}]
    config = Config.model_validate({"groups": groups, "budget_tokens": 10_000})
    [ids], _ = run(config, MIXED)
    found = tokens_by_source(MIXED, ids)
    assert 3000 - 11 < found["med/a"] <= 3000
    assert 7000 - 80 < found["web/b"] <= 7000


def test_a_share_without_a_budget_leaves_nothing_out() -> None:
    config = Config.model_validate({"groups": [{"name": "domain", "source": "med/*", "share": 0.3}]})
    [ids], _ = run(config, MIXED)
    found = tokens_by_source(MIXED, ids)
    assert found["web/b"] == WEB
    assert abs(found["med/a"] - WEB * 0.3 / 0.7) <= 11


def test_a_groups_limit_holds() -> None:
    groups = [{"name": "web", "source": "web/*", "max_tokens": 1000}]
    [ids], _ = run(Config.model_validate({"groups": groups}), MIXED)
    found = tokens_by_source(MIXED, ids)
    assert found["med/a"] == MED
    assert 1000 - 80 < found["web/b"] <= 1000


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 3000))
def test_a_budget_is_met_within_one_document(sizes: list[int], budget: int) -> None:
    documents = corpus({"a": sizes})
    [ids], groups = run(Config(budget_tokens=budget), documents)
    found = tokens_by_source(documents, ids)["a"]
    assert found == groups["(rest): tokens after"]
    assert len(ids) == groups["(rest): documents after"]
    if sum(sizes):
        assert budget - max(sizes) < found <= budget


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_units_and_parts_change_nothing(data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(MIXED)), max_size=4))
    groups = [{"name": "domain", "source": "med/*", "share": data.draw(st.floats(0.01, 0.9))}]
    config = Config.model_validate({"groups": groups, "budget_tokens": data.draw(st.none() | st.just(30_000))})
    whole, report = run(config, MIXED)
    units, same_report = run(config, MIXED, cuts, data.draw(st.integers(1, 4)))
    assert report == same_report
    assert Counter(itertools.chain(*units)) == Counter(whole[0])
    firsts = [id for unit in units for id in unit if "#" not in id]
    assert firsts == [id for id in whole[0] if "#" not in id]


def test_the_order_of_documents_does_not_decide_who_stays() -> None:
    config = Config(budget_tokens=5000)
    [ids], _ = run(config, MIXED)
    [backwards], _ = run(config, MIXED[::-1])
    assert ids == backwards[::-1]


def test_held_out_documents_are_left_alone() -> None:
    finished, _ = run(Config(budget_tokens=100), MIXED, cuts=[30], split="heldout")
    assert list(itertools.chain(*finished)) == [document.id for document, _ in MIXED]


def test_languages_are_evened_out_by_temperature() -> None:
    documents = corpus({"en": [10] * 1000}, "en") + corpus({"sw": [10] * 10}, "sw") + corpus({"x": [10] * 10})
    [ids], groups = run(Config(by="lang", temperature=2), documents)
    assert [groups[f"{name}: tokens after"] for name in ("en", "sw", "unknown")] == [10_000, 1000, 1000]
    assert tokens_by_source(documents, ids) == {"en": 10_000, "sw": 1000, "x": 1000}  # square roots: 100, 10, 10


def test_top_folders_are_groups_by_source() -> None:
    documents = corpus({"a/1": [4], "a/2": [4], "b/c/d": [2]})
    _, groups = run(Config(by="source", budget_tokens=5), documents)
    assert {name: groups[f"{name}: tokens"] for name in "ab"} == {"a": 8, "b": 2}


def test_the_first_group_that_fits_is_a_documents_own() -> None:
    groups = [{"name": "german", "lang": "de"}, {"name": "med", "source": "med/*"}, {"name": "all", "weight": 2}]
    config = Config.model_validate({"groups": groups})
    assert config.group_of("med/a", "de") == "german"
    assert config.group_of("med/a/b", None) == "med"
    assert config.group_of("web/a", "en") == "all"


def test_temperatures_give_the_shares_worked_out_by_hand() -> None:
    tokens = {"en": 1_000_000, "sw": 1000}
    wishes = {"en": Wish(), "sw": Wish()}
    # alpha 0.5: 1000 to 31.6228 is 0.969347 to 0.030653
    assert target_tokens(tokens, wishes, 2.0, 10_000_000) == {"en": 9_693_465, "sw": 306_534}
    # alpha 1/3: 100 to 10
    assert target_tokens(tokens, wishes, 3.0, 1100) == {"en": 1000, "sw": 100}
    # no budget: English once, Swahili a tenth of it
    assert target_tokens(tokens, wishes, 3.0, None) == {"en": 1_000_000, "sw": 100_000}
    assert target_tokens(tokens, wishes, 1.0, 1001) == {"en": 1000, "sw": 1}


def test_weights_shares_and_limits_together() -> None:
    tokens = {"a": 100, "b": 100, "c": 300}
    wishes = {"a": Wish(share=0.2), "b": Wish(weight=3.0), "c": Wish(max_tokens=350)}
    assert target_tokens(tokens, wishes, 1.0, 1000) == {"a": 200, "b": 400, "c": 350}


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 10**15), min_size=1), st.floats(1, 20))
def test_without_a_budget_every_group_is_there_at_least_once(tokens: dict[str, int], temperature: float) -> None:
    targets = target_tokens(tokens, {name: Wish() for name in tokens}, temperature, None)
    assert all(targets[name] >= count for name, count in tokens.items())
    assert any(targets[name] == count for name, count in tokens.items())


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"name": "law", "source": "law/*", "weight": 2}], r"group law \(law/\*\) has no training tokens"),
        ([{"name": "med", "source": "med/*", "share": 1}], r"add up to 1.0, and nothing is left for \(rest\)"),
        ([{"name": "all", "share": 0.5}], "add up to 0.5, and there are no other groups"),
        ([{"name": "med", "source": "med/*", "weight": 1e9}], "would be repeated 1000000000 times; set max_tokens"),
    ],
)
def test_a_mixture_that_the_corpus_cannot_give_is_refused(groups: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(Config.model_validate({"groups": groups}), MIXED)


def test_too_many_groups_are_refused() -> None:
    documents = corpus({f"file{number}": [1] for number in range(1025)})
    with pytest.raises(InputError, match="1025 groups by source are more than 1024"):
        run(Config(by="source", temperature=2), documents)


def test_a_corpus_without_documents_gives_none() -> None:
    assert run(Config(budget_tokens=10), [], cuts=[0]) == ([[], []], {})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing is asked for"),
        ({"groups": [{"name": "a", "weight": 2}], "by": "lang"}, "groups and by are both given"),
        ({"groups": [{"name": "a", "weight": 2, "share": 0.5}]}, "group a: weight and share are both given"),
        ({"groups": [{"name": "a", "share": 0.6}, {"name": "b", "share": 0.6}]}, "add up to 1.2, more than 1"),
        ({"groups": [{"name": "a", "share": 0.6}, {"name": "a"}]}, "the name a is given twice"),
        ({"temperature": 3.3}, "give by: lang, by: source, or groups"),
        ({"by": "lang", "temperature": 0.5}, "greater than or equal to 1"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(given)
