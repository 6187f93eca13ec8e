"""Repairing texts: mojibake exactly as ftfy does it, everything else that is broken, and nothing that is not."""

import random
import unicodedata

import ftfy
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.stages.rules.repair import FTFY, repair_mojibake, settle
from data_prep.stages.rules.settled import native_library, quickly_settled

SUSPICIOUS = sorted(
    {chr(code) for code in range(0x80, 0x2700) if any(chr(code) in c for c in MOJIBAKE_CATEGORIES.values())}
)
CATEGORY_CHARACTERS = "".join(SUSPICIOUS) + "œŒÂÃÎÐØÙàáâÄ\x81\x85\x9dВГРСвЂўабвÀÖÜäöüßαβγΑΒΓабвя€‚√≈ﬁﬂ\uf8ff"
MOJIBAKE_LIKE = st.text(st.sampled_from(CATEGORY_CHARACTERS + " \n\tazAZ.,?!1<&;"), max_size=12)
ANY_TEXT = st.text(max_size=30)
WRONG_ENCODINGS = [
    "latin-1",
    "cp1252",
    "cp1251",
    "cp1250",
    "cp1253",
    "cp1254",
    "cp1257",
    "iso-8859-2",
    "macroman",
    "cp437",
]

# In every language the start of article 1 of the Universal Declaration of Human Rights.
LANGUAGES = [
    "All human beings are born free and equal in dignity and rights.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren: „ist’s so?“ »Ja!«",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits « sœurs » – cœur.",
    "人人生而自由，在尊严和权利上一律平等。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。ﾊﾟ",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Все люди рождаются свободными и равными в своём достоинстве и правах: «да».",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "همهٔ افراد بشر آزاد به دنیا می\u200cآیند",
    "👩\u200d👩\u200d👧 “quotes” … 10³ ½ ﬁ Ｆｕｌｌ &amp; <b>",
]


@pytest.mark.parametrize("text", LANGUAGES)
def test_texts_in_any_language_stay_as_they_are(text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    assert settle(text, "NFC") == text


@given(MOJIBAKE_LIKE)
@settings(max_examples=600, deadline=None)
def test_mojibake_is_repaired_as_ftfy_does_it(text: str) -> None:
    assert repair_mojibake(text) == ftfy.fix_text(text, FTFY)


@given(ANY_TEXT, st.sampled_from(WRONG_ENCODINGS))
@settings(max_examples=500, deadline=None)
def test_text_read_in_a_wrong_encoding_is_repaired_as_ftfy_does_it(text: str, encoding: str) -> None:
    broken = text.encode("utf-8", "replace").decode(encoding, "replace") + "\nä»\n" + text
    assert repair_mojibake(broken) == ftfy.fix_text(broken, FTFY)


def test_every_pair_of_suspicious_characters_is_judged_as_ftfy_judges_it() -> None:
    for first in (*CATEGORY_CHARACTERS, "a", " ", "\n", ""):
        lines = [f"{first}{second}x\n{first}{second}\n" for second in CATEGORY_CHARACTERS + " z\n"]
        bad = "".join(line for line in lines if ftfy.badness.is_bad(line))
        assert repair_mojibake(bad) == ftfy.fix_text(bad, FTFY)


@pytest.mark.long
def test_mojibake_is_repaired_as_ftfy_does_it_in_very_many_texts() -> None:
    rng = random.Random(60_000)
    characters = [*CATEGORY_CHARACTERS, *" \n\tazAZ.,?!1<&;"]
    repaired = 0
    for _ in range(60_000):
        text = "".join(rng.choices(characters, k=rng.randint(1, 12)))
        fixed = repair_mojibake(text)
        assert fixed == ftfy.fix_text(text, FTFY), repr(text)
        repaired += fixed != text
    assert repaired > 1000


def test_only_the_broken_line_is_repaired() -> None:
    text = "first Ãœber\nschÃ¶n und groÃŸ\nschön\n"
    assert repair_mojibake(text) == "first Über\nschön und groß\nschön\n"


def test_nothing_else_that_ftfy_could_do_is_done() -> None:
    text = "“curly” ﬁ Ｆｕｌｌ &amp; ﾊﾟ \x1b[31m"
    assert repair_mojibake(text) == text


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("a\r\nb\rc\u2028d\u2029e\n\n", "a\nb\nc\nd\ne\n\n"),
        ("\ufeffa\x00b\x07c\x0bd\x7fe\u206af\ufff9g\uffffh\ufdd0", "abcdefgh"),
        ("tab\t feed\x0c  two spaces \n\n\tend ", "tab\t feed\x0c  two spaces \n\n\tend "),
        ("a\u0308 u\u0308", "ä ü"),
        ("lone \ud800 surrogate", "lone  surrogate"),
        ("a\x00\u0308", "ä"),
    ],
)
def test_line_ends_controls_and_forms(text: str, repaired: str) -> None:
    assert settle(text, "NFC") == repaired


def test_nfkc_is_made_only_if_asked_for() -> None:
    assert settle("ﬁ 10³ Ｆ", "NFKC") == "fi 103 F"
    assert settle("ﬁ 10³ Ｆ a\u0308", None) == "ﬁ 10³ Ｆ a\u0308"


def test_without_repair_of_mojibake_it_stays() -> None:
    assert settle("schÃ¶n", "NFC", mojibake=False) == "schÃ¶n"


@given(st.one_of(st.text(st.characters(), max_size=40), MOJIBAKE_LIKE), st.sampled_from(["NFC", "NFKC", None]))
@settings(max_examples=400, deadline=None)
def test_repairing_twice_changes_nothing_more_and_what_comes_out_is_unicode(text: str, form) -> None:  # type: ignore[no-untyped-def]
    repaired = settle(text, form)
    repaired.encode()
    assert settle(repaired, form) == repaired
    if form:
        assert unicodedata.is_normalized(form, repaired)


@given(st.text(st.sampled_from(" \t\n\x0cabc(){}:=#\"'\\äé你"), max_size=80))
@settings(max_examples=300, deadline=None)
def test_white_space_of_code_stays_byte_for_byte(text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    if not ftfy.badness.is_bad(text):
        assert settle(text, "NFC") == text


def test_an_innocent_pair_before_a_broken_one_does_not_hide_it() -> None:
    text = "a»«b » a»«b 𝐀 schÃ¶n\nÃ  x\n" + "»«" * 20 + "\n"
    assert repair_mojibake(text) == ftfy.fix_text(text, FTFY)
    assert "schön" in repair_mojibake(text)


def test_a_line_beyond_the_limit_of_ftfy_is_repaired_in_the_same_pieces() -> None:
    text = "x" * 999_999 + "Ã¶" + "y" * 1000 + " schÃ¶n"
    assert repair_mojibake(text) == ftfy.fix_text(text, FTFY)


@given(st.one_of(MOJIBAKE_LIKE, ANY_TEXT, st.text(st.characters(max_codepoint=0x400)), st.sampled_from(LANGUAGES)))
@settings(max_examples=400, deadline=None)
def test_what_is_called_settled_stays_as_it_is(text: str) -> None:
    text = "word " * 12 + text + " word" * 16  # the look at blocks of ASCII and at what is between them
    for form in (None, "NFC", "NFKC"):
        for mojibake in (True, False):
            told = quickly_settled(text, text.encode(), form, mojibake)
            assert told in (None, settle(text, form, mojibake))


@pytest.mark.skipif(native_library() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("text", ["plain\n\ttext", *LANGUAGES])
def test_ordinary_texts_are_called_settled(text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    assert quickly_settled(text, text.encode(), "NFC") == text
    assert quickly_settled(f"{text}\u2028", f"{text}\u2028".encode(), "NFC") is None
    assert quickly_settled(f"{text} a\u0301", f"{text} a\u0301".encode(), "NFC") == f"{text} \u00e1"
