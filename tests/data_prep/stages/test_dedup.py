"""dedup, through its observers, reductions and step, on documents cut into units and parts in every way."""

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_prep.sources.document import Document
from data_prep.stages import dedup
from data_prep.stages.dedup import Config, NearConfig
from data_prep.stages.duplicates import links
from data_prep.stages.duplicates.minhash import Lsh, signatures
from data_prep.stages.duplicates.shingles import shingle_hashes
from data_prep.stages.stage import Decision, Dropped, Part

Found = dict[str, tuple[str, str]]
WORDS = [f"w{number}" for number in range(20_000)]


def document(id: str, text: str, pair: str | None = None) -> Document:
    return Document(id, text, "corpus.txt", pair=pair)


def cut_into(documents: Sequence[Document], cuts: Sequence[int]) -> list[list[Document]]:
    bounds = [0, *sorted(cuts), len(documents)]
    return [list(documents[a:b]) for a, b in itertools.pairwise(bounds)]


def decide(config: Config, units: Sequence[Sequence[Document]], root: Path, parts: int, backwards: bool) -> list[Path]:
    """Observe and reduce; the folders of the last reduction's parts."""
    observed = [root / f"unit{number}" for number in range(len(units))]
    for folder, unit in zip(observed, units, strict=True):
        folder.mkdir()
        observer = dedup.observer(config)
        for each in unit:
            observer.add(each)
        assert observer.save(folder) == {"documents": len(unit)}
    inputs = observed
    for reduction in dedup.REDUCTIONS:
        count = parts if reduction.partitioned else 1
        outputs = [root / f"{reduction.name}{number}" for number in range(count)]
        for number in reversed(range(count)) if backwards else range(count):
            outputs[number].mkdir()
            reduction.run(config, Part(inputs, observed, outputs[number], number, count))
        inputs = outputs
    return inputs


def run(
    config: Config, documents: Sequence[Document], cuts: Sequence[int] = (), parts: int = 1, backwards: bool = False
) -> Found:
    """Reason and detail of every dropped document."""
    units = cut_into(documents, cuts)
    found: Found = {}
    with TemporaryDirectory() as root:
        folders = decide(config, units, Path(root), parts, backwards)
        for number, unit in enumerate(units):
            results = list(dedup.step(config, Decision(folders, number))(unit))
            assert [r.document if isinstance(r, Dropped) else r for r in results] == unit
            found |= {r.document.id: (r.reason, r.detail) for r in results if isinstance(r, Dropped)}
    return found


def planted(rng: random.Random, similarity: float, num_shingles: int = 240) -> tuple[str, str]:
    """Two texts of `num_shingles` shingles each, every word of a text only once: their Jaccard similarity is known.

    They share a first part of c shingles, and nothing after it: J = c / (2 num_shingles - c), rounded up.
    """
    common = -(-2 * num_shingles * similarity // (1 + similarity))
    words = rng.sample(WORDS, 2 * num_shingles + 8)
    first, rest = words[: num_shingles + 4], words[num_shingles + 4 :]
    shared = first[: int(common) + 4]
    return " ".join(first), " ".join(shared + rest[: len(first) - len(shared)])


def jaccard(first: str, second: str) -> float:
    sets = [{tuple(words[n : n + 5]) for n in range(len(words) - 4)} for words in (first.split(), second.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def found_share(config: Config, similarity: float, pairs: int, num_shingles: int = 240) -> float:
    rng = random.Random(f"{similarity} {num_shingles}")
    documents = []
    for number in range(pairs):
        first, second = planted(rng, similarity, num_shingles)
        assert similarity <= jaccard(first, second) < similarity + 1.5 / num_shingles
        documents += [document(f"{number}a", first), document(f"{number}b", second)]
    found = run(config, documents, parts=2)
    assert all(found[id] == ("near_duplicate", f"nearly the same as {id[:-1]}a") for id in found)
    return len(found) / pairs


def test_pairs_at_the_threshold_are_found_and_pairs_well_below_it_are_not() -> None:
    recall = found_share(Config(), 0.8, 1000)
    assert recall >= 0.95
    false = [found_share(Config(), similarity, 1000) for similarity in (0.5, 0.6, 0.65)]
    assert recall / (recall + sum(false)) >= 0.95  # three times as many hard negatives as duplicates
    assert sum(false) <= 0.005


@pytest.mark.parametrize("num_shingles", [40, 1000])
def test_short_and_long_texts_are_found_as_well(num_shingles: int) -> None:
    assert found_share(Config(), 0.8, 300, num_shingles) >= 0.95
    assert found_share(Config(), 0.6, 300, num_shingles) <= 0.01


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_other_thresholds_find_their_own_pairs(threshold: float) -> None:
    config = Config(near=NearConfig(threshold=threshold))
    assert found_share(config, threshold, 300) >= 0.95
    assert found_share(config, threshold - 0.2, 300) <= 0.03


@pytest.mark.long
def test_the_share_of_pairs_found_rises_with_their_similarity() -> None:
    shares = {similarity: found_share(Config(), similarity, 5000) for similarity in (0.5, 0.65, 0.7, 0.8, 0.85, 0.9)}
    assert shares[0.8] >= 0.96
    assert shares[0.85] >= 0.99
    assert shares[0.9] == 1
    assert shares[0.5] == 0
    assert shares[0.65] <= 0.002
    assert shares[0.7] <= 0.06


def test_lanes_agree_as_often_as_the_similarity_says() -> None:
    rng = random.Random(5)
    for similarity in (0.3, 0.8):
        texts = [text for _ in range(400) for text in planted(rng, similarity)]
        lanes = signatures(texts, 5)
        agreement = np.mean(lanes[::2] == lanes[1::2])
        assert abs(agreement - (similarity + (1 - similarity) / 256)) < 0.01  # more than five standard errors


def test_wider_bands_for_higher_thresholds() -> None:
    assert Lsh.of(0.8) == Lsh(bands=32, rows=8, min_matches=193)
    assert [Lsh.of(threshold).rows for threshold in (0.5, 0.6, 0.7, 0.95)] == [3, 4, 6, 8]


texts = st.sampled_from(
    ["one two three", "a b c d e f g h", "A b  c d e f g h", "x", "日本語の文章です。", "one  two three"]
)


@st.composite
def corpora(draw: st.DrawFn) -> list[Document]:
    """Few different texts, many copies, some aligned; some ids occur twice."""
    count = draw(st.integers(0, 14))
    ids = draw(st.lists(st.integers(0, 30), min_size=count, max_size=count))
    pairs = st.none() | st.sampled_from(["p", "q", "r"])
    return [document(str(id), draw(texts), draw(pairs)) for id in ids]


@settings(max_examples=8, deadline=None)
@given(corpora(), st.data())
def test_units_parts_and_their_order_change_nothing(documents: list[Document], data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(documents)), max_size=4))
    parts = data.draw(st.integers(1, 5))
    config = Config(normalize=data.draw(st.booleans()))
    expected = run(config, documents)
    assert list(run(config, documents, cuts, parts, data.draw(st.booleans())).items()) == list(expected.items())


@settings(max_examples=8, deadline=None)
@given(corpora(), st.data())
def test_the_order_of_documents_with_different_ids_changes_nothing(
    documents: list[Document], data: st.DataObject
) -> None:
    unique = list({each.id: each for each in documents}.values())
    shuffled = data.draw(st.permutations(unique))
    assert run(Config(), shuffled, parts=2) == run(Config(), unique)


@settings(max_examples=15, deadline=None)
@given(corpora())
def test_one_copy_stays_and_partners_stay_together(documents: list[Document]) -> None:
    documents = [document(f"{each.id}-{number}", each.text, each.pair) for number, each in enumerate(documents)]
    dropped = run(Config(near=None), documents)
    kept = [each for each in documents if each.id not in dropped]
    assert {each.text for each in kept} == {each.text for each in documents}
    assert not {each.pair for each in kept if each.pair} & {each.pair for each in documents if each.id in dropped}
    single = [each for each in kept if each.pair is None]
    assert len({each.text for each in single}) == len(single)


def test_the_smallest_id_stays_and_is_named() -> None:
    text = "a text that stands here more than once"
    found = run(Config(), [document("b", text), document("c", text.upper()), document("a", text)])
    assert found == {
        "b": ("exact_duplicate", "the same as a"),
        "c": ("near_duplicate", "nearly the same as a"),
    }


def test_the_first_of_equal_ids_stays() -> None:
    units = [[document("same", "text")], [document("same", "text")]]
    with TemporaryDirectory() as root:
        folders = decide(Config(), units, Path(root), 1, False)
        kept = [list(dedup.step(Config(), Decision(folders, number))(unit)) for number, unit in enumerate(units)]
    assert kept == [units[0], [Dropped(units[1][0], "exact_duplicate", "the same as same")]]


def test_near_copies_of_near_copies_are_one_cluster() -> None:
    words = random.Random(3).sample(WORDS, 1500)
    chain = [document(str(n), " ".join(words[100 * n : 100 * n + 1000])) for n in range(6)]
    assert jaccard(chain[0].text, chain[5].text) < 0.4
    assert set(run(Config(), chain)) == {"1", "2", "3", "4", "5"}


def test_exact_alone_keeps_near_copies_and_near_alone_does_not_speak_of_exact_ones() -> None:
    documents = [document("a", "One text."), document("b", "one text"), document("c", "One text.")]
    assert run(Config(near=None), documents) == {"c": ("exact_duplicate", "the same as a")}
    words = " ".join(WORDS[:50])
    copies = [document("a", words), document("b", words), document("c", words + " more")]
    near = ("near_duplicate", "nearly the same as a")
    assert run(Config(exact=False), copies) == {"b": near, "c": near}


def test_normalizing_looks_past_case_and_white_space_only() -> None:
    documents = [document("a", "One  text.\n"), document("b", "one text."), document("c", "one text")]
    assert run(Config(near=None, normalize=True), documents) == {"b": ("exact_duplicate", "the same as a")}


def test_two_equal_pairs_lose_the_same_one_in_both_languages() -> None:
    documents = [
        document("1.en", "good morning to all of you", "p1"),
        document("9.de", "guten Morgen euch allen zusammen", "p1"),
        document("2.en", "good morning to all of you", "p2"),
        document("8.de", "guten Morgen euch allen zusammen", "p2"),
    ]
    assert set(run(Config(), documents, cuts=[1, 2, 3], parts=3)) == {"2.en", "8.de"}


def test_a_copy_whose_partner_has_no_copy_stays() -> None:
    documents = [
        document("1.en", "the same sentence in English here", "p1"),
        document("1.de", "eine erste Fassung des Satzes auf Deutsch", "p1"),
        document("2.en", "the same sentence in English here", "p2"),
        document("2.de", "etwas ganz anderes steht an dieser Stelle", "p2"),
        document("3.en", "the same sentence in English here"),
    ]
    assert set(run(Config(), documents)) == {"3.en"}


def test_a_bucket_larger_than_the_reach_and_the_block_loses_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_BLOCK", 64)
    text = " ".join(WORDS[:300])
    documents = [document(f"{number:04}", f"{text} {WORDS[1000 + number]}") for number in range(200)]
    assert len(run(Config(), documents, cuts=[50, 51], parts=2)) == 199


def shingles(text: str) -> set[int]:
    return set(shingle_hashes([text], 5)[0].tolist())


def test_case_punctuation_and_white_space_do_not_count_in_shingles() -> None:
    assert shingles("It is -- as\n“He” said -- so, she thought") == shingles("it is as he SAID so   she thought")
    assert shingles("it is as he said so she thought") != shingles("it is as he said so she did")


def test_scripts_without_spaces_are_read_by_characters() -> None:
    assert len(shingles("東京は日本の首都である")) == 7
    assert len(shingles("ประเทศไทย")) == 5
    assert shingles("東京は日本の首都。である") == shingles("東京は日本の首都である")
    assert len(shingles("the word 東京 and three more words")) == 4


def test_texts_of_few_words_are_read_by_characters_with_case_and_punctuation() -> None:
    assert len(shingles("c1ccccc1")) == 4
    assert shingles("c1ccccc1") != shingles("C1CCCCC1")
    assert len(shingles("CC(=O)O")) == 3
    assert len(shingles("hi")) == 1
    assert shingles("hi") != shingles("ho")


@given(st.lists(st.text(max_size=40), max_size=8), st.integers(1, 7))
def test_a_text_has_the_same_shingles_in_any_batch(batch: list[str], ngram: int) -> None:
    hashes, offsets = shingle_hashes(batch, ngram)
    alone = [shingle_hashes([text], ngram)[0].tolist() for text in batch]
    assert [hashes[a:b].tolist() for a, b in itertools.pairwise(offsets)] == alone
    assert all(alone)


def test_a_long_text_has_the_same_shingles_wherever_it_stands_in_a_batch() -> None:
    rng = random.Random(1)
    text = " ".join(rng.choice(WORDS) for _ in range(120_000)) + " " + "x" * 600_000  # more than two blocks, twice
    hashes, offsets = shingle_hashes(["some words before it that are more than five", text], 5)
    assert np.array_equal(hashes[int(offsets[1]) :], shingle_hashes([text], 5)[0])
    assert len(hashes) == 5 + 120_001 - 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"exact": False, "near": None}, "both off"),
        ({"exact": False, "normalize": True}, "exact is off"),
        ({"near": {"threshold": 0.2}}, "greater than or equal to 0.5"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(given)


@pytest.mark.parametrize(("given", "near"), [(True, NearConfig()), (False, None), (None, None)])
def test_near_can_be_a_word(given: bool | None, near: NearConfig | None) -> None:
    assert Config.model_validate({"kind": "dedup", "near": given}).near == near
    assert Config().near == NearConfig()


@pytest.mark.parametrize("documents", [[], [document("a", "x")], [document("a", "x"), document("b", "y", "p")]])
def test_a_corpus_without_copies_is_left_alone(documents: list[Document]) -> None:
    assert run(Config(), documents, cuts=[0, 0], parts=3) == {}
