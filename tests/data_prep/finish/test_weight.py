"""Weights: exact logarithms, exact counts, and the same columns however the corpus was cut."""

import itertools
import math
import tempfile
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_prep.columns.config import WeightConfig
from data_prep.finish import document_counts, weight
from data_prep.finish.finish import TokenizedDocument
from data_prep.finish.logarithms import log2_eighths
from data_prep.finish.pairs import PairCounter, merged, pair_keys, pair_tokens
from data_prep.shards import Chunk
from data_prep.sources.document import Document
from data_prep.stages.stage import Decision, Part

VOCAB = 300
Corpus = list[np.ndarray]


def corpus(seed: int = 3, documents: int = 60) -> Corpus:
    """Documents in which token 0 is everywhere, 7 and 8 always stand together, and 11 is in one document only."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(documents):
        ids = np.minimum(rng.zipf(1.5, int(rng.integers(5, 200))) + 20, VOCAB - 1)
        ids[:: int(rng.integers(2, 9))] = 0
        parts = [ids, [7, 8, 9], ids[:5]] if number % 3 else [ids]
        made.append(np.concatenate([*parts, [11, 11]] if number == 5 else parts).astype(np.uint16))
    return made


def decide(config: WeightConfig, units: list[Corpus], folder: Path, parts: int) -> Decision:
    """Run the observers and reductions as the driver does."""
    observed = []
    for number, unit in enumerate(units):
        watcher = weight.observer(config, VOCAB)
        for ids in unit:
            watcher.add(Document("x", "", "x"), ids)
        observed.append(folder / f"observed-{number}")
        observed[-1].mkdir(parents=True)
        watcher.save(observed[-1])
    inputs = observed
    for reduction in weight.REDUCTIONS:
        count = parts if reduction.partitioned else 1
        outs = [folder / f"{reduction.name}-{number}" for number in range(count)]
        for number, out in enumerate(outs):
            out.mkdir()
            reduction.run(config, Part(inputs, observed, out, number, count))
        inputs = outs
    return Decision(inputs, 0)


def columns(config: WeightConfig, units: list[Corpus], folder: Path, parts: int = 1) -> list[dict[str, Any]]:
    finish = weight.finish(config, decide(config, units, folder, parts), "train")
    documents = (TokenizedDocument("x", ids, {"words": np.ones(len(ids), np.uint8)}) for unit in units for ids in unit)
    return [{name: part.tolist() for name, part in done.columns.items()} for done in finish(documents)]


def config(**values: Any) -> WeightConfig:
    return WeightConfig.model_validate(values)


WHOLE = st.integers(1, 2**63 - 1)


@settings(max_examples=300)
@given(WHOLE, WHOLE, WHOLE, WHOLE)
@example(2**62, 1, 2**62 - 1, 1)
@example(1, 1, 1, 1)
@example(3, 5, 2**63 - 1, 7)
def test_logarithms_are_rounded_down_exactly(a: int, b: int, c: int, d: int) -> None:
    [found] = log2_eighths([np.array([a]), np.array(b)], [np.array([c]), np.array([d])]).tolist()
    ratio = Fraction(a * b, c * d) ** 8
    assert Fraction(2) ** found <= ratio < Fraction(2) ** (found + 1)


@pytest.mark.parametrize("near", [2**60, 3 * 2**50, 2**40 + 1])
def test_logarithms_next_to_a_step_are_not_left_to_floating_point(near: int) -> None:
    numerators = np.array([near - 1, near, near + 1])
    found = log2_eighths([numerators], [np.full(3, 2**30)]).tolist()
    for numerator, eighths in zip(numerators.tolist(), found, strict=True):
        assert Fraction(2) ** eighths <= Fraction(numerator, 2**30) ** 8 < Fraction(2) ** (eighths + 1)


def test_idf_weights_are_what_the_page_says(tmp_path: Path) -> None:
    documents = corpus()
    [first, *_] = columns(config(kind="idf"), [documents], tmp_path)
    for token, found in zip(documents[0].tolist(), first["weight"], strict=True):
        with_token = sum(token in ids for ids in documents)
        assert found == 1 + math.floor(8 * math.log2(len(documents) / with_token) + 1e-9)
    assert first["weight"][0] == 1  # token 0 is in every document
    assert first["words"] == [1] * len(documents[0])


def test_a_token_of_no_training_document_weighs_as_much_as_one_of_a_single_document() -> None:
    counts = np.array([1000, 1000, 1, 0])
    assert weight.idf_weights(counts).tolist() == [1, 80, 80]
    assert weight.idf_weights(np.array([2**40, 1])).tolist() == [255]
    assert weight.idf_weights(np.array([0, 0])).tolist() == [1]


def test_pmi_weighs_what_a_document_favours(tmp_path: Path) -> None:
    documents = corpus()
    found = columns(config(kind="pmi"), [documents], tmp_path)
    corpus_ids = np.concatenate(documents).tolist()
    ids = documents[5].tolist()
    for token, weighed in zip(ids, found[5]["weight"], strict=True):
        ratio = (ids.count(token) / len(ids)) / (corpus_ids.count(token) / len(corpus_ids))
        assert weighed == max(1, 1 + math.floor(8 * math.log2(ratio) + 1e-9))
    assert found[5]["weight"][ids.index(11)] == max(found[5]["weight"])


def test_correlated_neighbours_are_one_ngram_and_long_chains_are_cut(tmp_path: Path) -> None:
    documents = corpus()
    found = columns(config(kind="pmi", min_count=20, max_pairs=2), [documents], tmp_path / "a")
    place = documents[1].tolist().index(7)
    assert found[1]["ngrams"][place : place + 4] == [1, 0, 0, 1]
    assert sum(found[0]["ngrams"]) == len(documents[0])
    short = columns(config(kind="pmi", min_count=20, max_pairs=2, max_ngram=2), [documents], tmp_path / "b")
    assert short[1]["ngrams"][place : place + 4] == [1, 0, 1, 1]
    keys = np.sort(pair_keys(np.array([5, 5])))
    assert weight.ngram_starts(np.full(7, 5), keys, 3).tolist() == [1, 0, 0, 1, 0, 0, 1]
    assert weight.ngram_starts(np.zeros(0, np.uint16), keys, 3).tolist() == []


@pytest.mark.parametrize("kind", ["idf", "pmi"])
def test_neither_units_nor_parts_change_a_weight(tmp_path: Path, kind: str) -> None:
    documents = corpus()
    asked = config(kind=kind) if kind == "idf" else config(kind=kind, min_count=2, max_pairs=30)
    whole = columns(asked, [documents], tmp_path / "whole")
    cut = columns(asked, [documents[:1], documents[1:20], [], documents[20:]], tmp_path / "cut", parts=7)
    assert cut == whole
    if kind == "pmi":
        assert any(0 in found["ngrams"] for found in whole)


def test_an_empty_document_and_an_empty_corpus_have_weights(tmp_path: Path) -> None:
    nothing = np.zeros(0, np.uint16)
    for kind in ("idf", "pmi"):
        found = columns(config(kind=kind), [[nothing]], tmp_path / kind)
        assert found[0]["weight"] == []
        assert columns(config(kind=kind), [[]], tmp_path / f"{kind}-0") == []


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=30), max_size=6), st.integers(1, 5))
def test_pairs_are_counted_exactly_whatever_the_tokens_and_parts(documents: list[list[int]], parts: int) -> None:
    expected = Counter(pair for ids in documents for pair in itertools.pairwise(ids))
    with tempfile.TemporaryDirectory() as name:
        folders = []
        for number, ids in enumerate(documents):
            counter = PairCounter()
            counter.add(np.array(ids, np.uint32))
            folders.append(Path(name) / str(number))
            folders[-1].mkdir()
            counter.save(folders[-1])
        found: dict[tuple[int, int], int] = {}
        for part in range(parts):
            keys, counts = merged(folders, part, parts)
            first, second = pair_tokens(keys)
            found |= dict(zip(zip(first.tolist(), second.tolist(), strict=True), counts.tolist(), strict=True))
    assert found == expected


def test_a_counter_with_a_full_buffer_goes_on_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.finish.pairs._BUFFER_PAIRS", 5)
    counter = PairCounter()
    for _ in range(9):
        counter.add(np.array([1, 2, 1, 2]))
    assert sorted(counter.counts()[1].tolist()) == [9, 18]


def test_whole_chunks_get_the_weights_of_their_documents(tmp_path: Path) -> None:
    documents, config = corpus(), WeightConfig(kind="idf")
    decision = decide(config, [documents], tmp_path, 1)
    tokenized = [TokenizedDocument(str(number), ids) for number, ids in enumerate(documents)]
    one_by_one = [done.columns["weight"] for done in weight.finish(config, decision, "train")(tokenized)]
    offsets = np.cumsum([0, *map(len, documents)], dtype=np.int64)
    chunk = Chunk(np.concatenate(documents), offsets, [document.id for document in tokenized])
    finish = weight.chunk_finish(config, decision)
    assert finish is not None
    assert finish(chunk).columns["weight"].tolist() == np.concatenate(one_by_one).tolist()
    assert weight.chunk_finish(WeightConfig(kind="pmi"), decision) is None


def test_document_frequencies_are_counted_the_same_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [*corpus(), np.zeros(0, np.uint16)]
    counted = []
    for library in (document_counts.native_library(), None):
        monkeypatch.setattr(document_counts, "native_library", lambda library=library: library)
        counts = document_counts.DocumentCounts(VOCAB)
        for ids in documents:
            counts.add(ids)
        counted.append(counts.counts.tolist())
    assert counted[0] == counted[1]
    assert counted[0][:2] == [len(documents), len(documents) - 1]  # token 0 is in all but the empty one
