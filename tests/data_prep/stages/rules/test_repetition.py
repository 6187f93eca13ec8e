"""Every repetition rule of Gopher: a text at the threshold passes, one beyond it does not."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.stages.rules.repetition import GopherRepetition, judge_repetition

OFF = dict.fromkeys(GopherRepetition.model_fields)


def reason(text: str, **thresholds: float | None) -> str | None:
    finding = judge_repetition(GopherRepetition(**{**OFF, **thresholds}), text)  # type: ignore[arg-type]
    return finding and finding.reason


def different(count: int, prefix: str = "line") -> list[str]:
    return [f"{prefix} {number:04}" for number in range(count)]


@pytest.mark.parametrize(("break_", "rule"), [("\n", "lines"), ("\n\n", "paragraphs")])
def test_duplicate_lines_and_paragraphs_at_the_threshold_and_beyond_it(break_: str, rule: str) -> None:
    within, beyond = different(7) + ["line 0000"] * 3, different(6) + ["line 0000"] * 4
    assert reason(break_.join(within), **{f"duplicate_{rule}": 0.30}) is None
    assert reason(break_.join(beyond), **{f"duplicate_{rule}": 0.30}) == f"gopher_duplicate_{rule}"


@pytest.mark.parametrize(("break_", "rule"), [("\n", "line"), ("\n\n", "paragraph")])
def test_characters_in_duplicates_at_the_threshold_and_beyond_it(break_: str, rule: str) -> None:
    # 100 characters with the breaks, of which a repeated line of 20 (or 21) is at (or beyond) a fifth
    for length, expected in ((20, None), (21, f"gopher_duplicate_{rule}s")):
        rest = 100 - 2 * length - 2 * len(break_)
        text = break_.join(["a" * length, "a" * length, "b" * rest])
        assert len(text) == 100
        assert reason(text, **{f"duplicate_{rule}_characters": 0.20}) == expected


@pytest.mark.parametrize(("n", "limit"), [(2, 0.20), (3, 0.18), (4, 0.16)])
def test_the_most_frequent_ngram_at_the_threshold_and_beyond_it(n: int, limit: float) -> None:
    words = different(500, "w")
    text = " ".join(word.replace(" ", "") for word in words)
    gram = " ".join(["again"] + [f"and{number}" for number in range(n - 1)])
    for count in range(2, 200):
        mixed = f"{text} " + " x ".join([gram] * count)
        share = max(top(mixed, n)) / len(mixed)
        assert (reason(mixed, **{f"top_{n}gram": limit}) is None) == (share <= limit)
    assert reason(mixed, **{f"top_{n}gram": limit}) == "gopher_top_ngram"


@pytest.mark.parametrize(("n", "limit"), [(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)])
def test_repeated_ngrams_at_the_threshold_and_beyond_it(n: int, limit: float) -> None:
    gram = [f"g{number}" for number in range(n)]
    repeated = len("".join(gram))
    for filler, expected in ((0, None), (1, "gopher_duplicate_ngram")):
        # one repetition; the rest of the text makes its share the limit, or a character less
        length = round(repeated / limit) - filler
        text = " ".join([*gram, "x", *gram, ""])
        text += "y" * (length - len(text))
        assert len(text) == length
        limit_here = repeated / round(repeated / limit)
        assert reason(text, **{f"duplicate_{n}gram": limit_here}) == expected


def top(text: str, n: int) -> list[int]:
    words = text.split()
    grams = Counter(" ".join(words[place : place + n]) for place in range(len(words) - n + 1))
    gram, count = grams.most_common(1)[0] if grams else ("", 0)
    return [len(gram) * count if count > 1 else 0]


def repeated(text: str, n: int) -> int:
    words, seen, place, characters = text.split(), set(), 0, 0
    while place <= len(words) - n:
        gram = tuple(words[place : place + n])
        again = gram in seen
        characters += len("".join(gram)) if again else 0
        seen.add(gram)
        place += n if again else 1
    return characters


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dd", "e"]), min_size=1, max_size=60), st.integers(2, 10))
@settings(max_examples=500, deadline=None)
def test_shares_of_ngrams_are_those_of_plain_code(words: list[str], n: int) -> None:
    text = " ".join(words)
    characters = top(text, n)[0] if n < 5 else repeated(text, n)
    name, share = f"{'top' if n < 5 else 'duplicate'}_{n}gram", characters / len(text)
    assert reason(text, **{name: share}) is None
    if share:
        assert reason(text, **{name: share * 0.999}) is not None


def test_the_defaults_are_the_papers_table() -> None:
    assert list(GopherRepetition().model_dump().values()) == [
        0.30, 0.30, 0.20, 0.20, 0.20, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10,
    ]  # fmt: skip


def test_ngrams_of_scripts_without_spaces_are_not_judged() -> None:
    assert reason("一二三四五六七八九十" * 20, duplicate_5gram=0.0, top_2gram=0.0) is None


@given(st.text(st.characters()))
def test_any_text_is_judged(text: str) -> None:
    judge_repetition(GopherRepetition(), text)
    assert reason(text) is None
