"""Every quality rule of Gopher: a text just within the threshold passes, one just beyond it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.stages.rules.gopher import GopherQuality, judge_quality

PROSE = ["the", "house", "of", "stone"] * 25  # 100 words


def reason(text: str, lang: str | None = "en", **thresholds: float | None) -> str | None:
    finding = judge_quality(GopherQuality(**thresholds), text, lang)  # type: ignore[arg-type]
    return finding and finding.reason


def test_prose_passes() -> None:
    assert reason(" ".join(PROSE)) is None


@pytest.mark.parametrize(
    ("within", "beyond", "expected"),
    [
        (PROSE[:50], PROSE[:49], "gopher_short"),
        (PROSE * 1000, [*PROSE * 1000, "more"], "gopher_long"),
        (["of", "oak", "the", "tree"] * 20, ["of", "oak", "the", "be"] * 20, "gopher_short_words"),
        (["the", "of", "x" * 15, "y" * 20] * 20, ["the", "of", "x" * 15, "y" * 21] * 20, "gopher_long_words"),
        (["#tag"] * 10 + PROSE[:90], ["#tag"] * 11 + PROSE[:89], "gopher_hashes"),
        (["wait..."] * 5 + ["wait…"] * 5 + PROSE[:90], ["wait..."] * 6 + ["wait…"] * 5 + PROSE[:89], "gopher_ellipses"),
        (["1234"] * 20 + PROSE[:80], ["1234"] * 21 + PROSE[:79], "gopher_letters"),
        (["the", "with", *["stone"] * 60], ["the", *["stone"] * 60], "gopher_stop_words"),
    ],
)  # fmt: skip
def test_words_at_the_threshold_and_beyond_it(within: list[str], beyond: list[str], expected: str) -> None:
    assert reason(" ".join(within)) is None
    assert reason(" ".join(beyond)) == expected


@pytest.mark.parametrize("bullet", ["•", "-", "*", "  •"])
def test_lines_that_begin_with_bullets(bullet: str) -> None:
    lines = [f"{bullet} {' '.join(PROSE[:10])}"] * 9
    plain = " ".join(PROSE[:10])
    assert reason("\n".join([*lines, plain])) is None
    assert reason("\n".join([*lines, bullet + plain])) == "gopher_bullet_lines"


@pytest.mark.parametrize("ellipsis", ["...", "…", "… "])
def test_lines_that_end_with_an_ellipsis(ellipsis: str) -> None:
    lines = [" ".join(PROSE[:20])] * 10
    assert reason("\n".join([line + ellipsis for line in lines[:3]] + lines[3:])) is None
    assert reason("\n".join([line + ellipsis for line in lines[:4]] + lines[4:])) == "gopher_ellipsis_lines"


def test_stop_words_are_asked_for_in_english_only() -> None:
    text = " ".join(["stone"] * 60)
    assert reason(text, "en") == "gopher_stop_words"
    assert reason(text, "de") is None
    assert reason(text, None) is None
    assert reason("The Stone " + text + " To", "en") is None


def test_lengths_of_words_are_not_asked_of_scripts_without_spaces() -> None:
    assert reason("人人生而自由，在尊严和权利上一律平等。" * 10, "zh") is None
    assert reason("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน" * 10, "th") is None


def test_every_rule_can_be_switched_off() -> None:
    rules = dict.fromkeys(GopherQuality.model_fields)
    for text in ("", "#", "1 2 3", "• ...", "x" * 50_000):
        assert reason(text, **rules) is None


@given(st.text(st.characters()), st.sampled_from(["en", "zh", None]))
def test_any_text_is_judged(text: str, lang: str | None) -> None:
    judge_quality(GopherQuality(min_words=None), text, lang)
