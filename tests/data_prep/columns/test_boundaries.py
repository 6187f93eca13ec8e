"""`boundaries.cpp` gives the marks of ICU and of the Python code: for any characters, real text, any tokens."""

import gzip
import platform
import random
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.corpus import without_tags
from data_prep import native
from data_prep.columns import boundaries, marks
from data_prep.columns.boundaries import CONTINUATION, SENTENCE_START, WORD_START
from data_prep.columns.characters import Characters, Texts
from data_prep.columns.icu import icu_sentences, icu_words
from data_prep.columns.marks import python_marks, token_marks
from data_prep.columns.properties import character_properties
from data_prep.columns.sents import sentence_places
from data_prep.columns.words import word_starts
from data_prep.sources.document import Document
from data_prep.tokenizer import Tokenizer

# Characters that rules of UAX #29 are about, and any others.
TELLING = st.sampled_from(
    "aZéßאבاщ0٣_‿ :.,;'’\"·-–!?()“”\r\n\t\u00a0\u00ad\u200b\u0301\u200d\u2028\x85字かカー泰ก한😀🇩🇪\u2139"
)
WORDS = st.sampled_from(
    ["Dr. ", "J. ", "I. ", "ул. ", "inż. ", "a.b", "3.5", ".\r\n\r\nA", "\n- ", ".) A", "... a", "z.B. "]
)
TEXTS = st.lists(st.one_of(TELLING, TELLING, WORDS, st.characters(exclude_categories=["Cs"])), max_size=60).map("".join)
CJK = st.text(
    st.one_of(
        *(
            st.characters(min_codepoint=first, max_codepoint=last)
            for first, last in [(0x3041, 0x3096), (0x30A1, 0x30FF)]
        ),
        *(
            st.characters(min_codepoint=first, max_codepoint=last)
            for first, last in [(0x4E00, 0x9FFF), (0x3400, 0x4DBF)]
        ),
        st.sampled_from("の人日本年大学会社東京カーン々〇一二三ﾊﾟ\u3099\u30fb\uf900\u2f00한_ a1、。「\u200d𠀀"),
    ),
    max_size=60,
)
MANUAL = Path("/usr/share/debian-reference")  # CI installs it in these languages: see .ci/run
LANGUAGES = ("en", "de", "fr", "ja")


def marked(text: str, words: str, sents: Literal["rules", "unicode"]) -> tuple[list[int], list[int]]:
    """Word starts of the characters, and the places of sentences."""
    fast = boundaries.boundaries(words, sents)
    assert fast is not None
    data = text.encode()
    found = fast.marks(data, np.array([len(data)]))
    found = found[found & CONTINUATION == 0]
    return (found & WORD_START).tolist(), np.flatnonzero(found & SENTENCE_START).tolist()


def expected(text: str, words: str, sents: Literal["rules", "unicode"]) -> tuple[list[int], list[int]]:
    """The same by the specification."""
    texts = Texts([text])
    return word_starts(texts, words).tolist(), sentence_places(texts, sents).tolist()


def documents(texts: Sequence[str]) -> list[Document]:
    return [Document(str(number), text, "test") for number, text in enumerate(texts)]


def assert_same_marks(texts: Sequence[str], tokenizer: Tokenizer) -> None:
    ids = [tokenizer.encode(text) for text in texts]
    found = token_marks(documents(texts), ids, tokenizer, "unicode", "rules")
    wanted = python_marks(texts, ids, tokenizer, "unicode", "rules")
    assert found.keys() == wanted.keys() == {"words", "sents"}
    for name in found:
        assert found[name].tolist() == wanted[name].tolist()


@settings(deadline=None, max_examples=120)
@given(TEXTS)
@example("a\u0600b")
@example("1.2,3 a.b,c a'b'' x:y _:_ 1_:2 א\"ב א' 🇩🇪🇫🇷🇩 👨\u200d👩 \u0301a")
@example('A. b. "(C.) 1. x\n\n.\u0301 a?! B\r\r\nc')
def test_any_text_has_the_boundaries_of_icu(text: str) -> None:
    assert marked(text, "unicode", "unicode") == expected(text, "unicode", "unicode")


@settings(deadline=None, max_examples=300)
@given(st.one_of(CJK, st.lists(st.one_of(CJK, TELLING), max_size=12).map("".join)))
@example("カ" * 19 + "の" + "カ" * 20 + "人" + "カ" * 45)
@example("東京都_東京 東京\u0301都 \u200d東京 か\u3099んじ ﾊﾟソコン 漢\U00020000字 한국東京")
def test_chinese_and_japanese_have_the_words_of_icu(text: str) -> None:
    assert marked(text, "unicode", "unicode") == expected(text, "unicode", "unicode")


def test_chinese_and_japanese_in_real_text_have_the_words_of_icu() -> None:
    for page in ("ch01.ja", "ch02.ja"):
        text = without_tags((MANUAL / f"{page}.html").read_text())
        assert marked(text, "unicode", "unicode")[0] == icu_words(text).tolist()


def test_a_dictionary_with_other_words_than_icu_finds_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert boundaries._dictionary() == boundaries.icu_cjk_dictionary() is not None
    monkeypatch.setattr(boundaries, "icu_words", lambda text: np.ones(len(text), np.uint8))
    assert boundaries._dictionary.__wrapped__() is None


@settings(deadline=None, max_examples=120)
@given(TEXTS)
@example("Dr. J. I. Messrs. xMessrs. _Dr. 1. é. ул. É. .")
@example("Mr.\nA. B.\r\nC\r\n\r\nd.\n\ne. F")
def test_any_text_has_the_boundaries_of_running_text(text: str) -> None:
    assert marked(text, "whitespace", "rules") == expected(text, "whitespace", "rules")


def test_characters_of_all_classes_in_any_order_have_the_boundaries_of_icu() -> None:
    rng, (_, of_class) = random.Random(0), np.unique(character_properties(), return_inverse=True)
    codes = np.flatnonzero(np.arange(len(of_class)) // 0x800 != 0xD800 // 0x800)  # no surrogates
    classes = [codes[of_class[codes] == number].tolist() for number in range(of_class.max() + 1)]
    classes = [members for members in classes if members]
    lines = ["".join(chr(rng.choice(rng.choice(classes))) for _ in range(rng.randint(1, 12))) for _ in range(4000)]
    text = "\n".join(lines)
    words, sentences = icu_words(text).tolist(), icu_sentences(text, Characters.of(text)).tolist()
    assert marked(text, "unicode", "unicode") == (words, sentences)


@pytest.mark.parametrize("flags", [("-O1",), ("-O1", "-mno-avx512vbmi2")], ids=["as it is", "without AVX-512"])
def test_many_characters_at_a_time_have_the_boundaries_of_one_at_a_time(flags: tuple[str, ...]) -> None:
    """Texts of which long stretches are ASCII, of any length, with any characters between them."""
    if platform.machine() != "x86_64" and len(flags) > 1:
        flags = flags[:1]  # nothing to leave out
    library = boundaries.declared(native.load(boundaries.SOURCE, flags))
    assert library is not None
    rng, others = random.Random(1), [chr(code) for code in range(128, 0x3100) if chr(code).isprintable()]
    finder = boundaries.Boundaries(library, "unicode", "rules", boundaries._dictionary())
    for number in range(300):
        telling = [rng.choice(" aZ09_.,;:'\"!?\n\r\t-()") for _ in range(rng.randint(0, 300))]
        for _ in range(number % 7):
            telling.insert(rng.randint(0, len(telling)), rng.choice(others))
        text = "".join(telling)
        data = text.encode()
        found = finder.marks(data, np.array([len(data)]))
        found = found[found & CONTINUATION == 0]
        both = (found & WORD_START).tolist(), np.flatnonzero(found & SENTENCE_START).tolist()
        assert both == expected(text, "unicode", "rules"), text


@settings(deadline=None, max_examples=80)
@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=4))
@example(["  a  b ", "\n\n", "c \u3000 d", " "])
def test_any_tokens_get_the_marks_of_the_python_code(tokenizer: Tokenizer, texts: list[str]) -> None:
    assert_same_marks(texts, tokenizer)


def test_real_text_in_several_languages_and_code_gets_the_same_marks(tokenizer: Tokenizer) -> None:
    code = [path.read_text() for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-d]*.py"))[:20]]
    prose = [without_tags((MANUAL / f"ch0{n}.{lang}.html").read_text()) for lang in LANGUAGES for n in (1, 2)]
    assert_same_marks([*code, *prose], tokenizer)


@pytest.mark.long
def test_every_manual_page_gets_the_same_marks(tokenizer: Tokenizer) -> None:
    for path in sorted(Path("/usr/share/man").glob("**/man[1-9]/*.gz")):
        if path.is_file() and not path.is_symlink():
            assert_same_marks([gzip.decompress(path.read_bytes()).decode(errors="replace")], tokenizer)


def test_an_icu_with_other_rules_and_a_machine_without_compiler_leave_it_to_the_python_code(
    monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer
) -> None:
    texts = ["Don't stop. Now!", "naïve 東京"]
    ids = [tokenizer.encode(text) for text in texts]
    before = token_marks(documents(texts), ids, tokenizer, "unicode", "rules")
    with monkeypatch.context() as other:
        other.setattr(boundaries, "icu_words", lambda text: np.ones(len(text), np.uint8))
        assert not boundaries._rules_are_those_of_icu.__wrapped__()
    monkeypatch.setattr(marks, "boundaries", lambda words, sents: None)
    after = token_marks(documents(texts), ids, tokenizer, "unicode", "rules")
    assert {name: column.tolist() for name, column in after.items()} == {n: c.tolist() for n, c in before.items()}
