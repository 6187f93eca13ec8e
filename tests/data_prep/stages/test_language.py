"""The stage `language`, with the model of the installed package, on texts in thirteen languages."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_prep.sources.document import Document
from data_prep.stages.language import STRETCH_CHARS, STRETCHES, Config, identify, step
from data_prep.stages.stage import Dropped

# The start of article 1 of the Universal Declaration of Human Rights.
TEXTS = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón.",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem.",
    "ru": "Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом и совестью.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler.",
    "ar": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
}


def document(text: str, lang: str | None = None) -> Document:
    return Document("a", text, "corpus.txt", lang)


def test_languages_are_identified() -> None:
    assert {lang: identify(text)[0] for lang, text in TEXTS.items()} == {lang: lang for lang in TEXTS}


def test_documents_get_their_language_in_order_and_others_are_dropped() -> None:
    documents = [document(text) for text in TEXTS.values()]
    results = list(step(Config(keep=("de", "ja")))(documents))
    kept = [result for result in results if isinstance(result, Document)]
    assert [(result.lang, result.text) for result in kept] == [("de", TEXTS["de"]), ("ja", TEXTS["ja"])]
    dropped = [result for result in results if isinstance(result, Dropped)]
    assert [result.document.lang for result in dropped] == [lang for lang in TEXTS if lang not in ("de", "ja")]
    assert {result.reason for result in dropped} == {"language"}
    assert dropped[0].detail.startswith("en (")


def test_the_sources_language_stays_unless_it_is_to_be_overwritten() -> None:
    [kept] = step(Config(keep=("fr",)))([document(TEXTS["de"], "fr")])
    assert kept == document(TEXTS["de"], "fr")
    [changed] = step(Config(overwrite=True))([document(TEXTS["de"], "fr")])
    assert changed == document(TEXTS["de"], "de")


@pytest.mark.parametrize("tag", ["pt-BR", "pt_BR", "PT"])
def test_of_a_longer_tag_the_language_counts(tag: str) -> None:
    [result] = step(Config(keep=("pt",)))([document("x", tag)])
    assert result == document("x", tag)


def test_guesses_below_the_confidence_are_dropped() -> None:
    _, confidence = identify(TEXTS["de"])
    [kept] = step(Config(min_confidence=confidence))([document(TEXTS["de"])])
    assert isinstance(kept, Document)
    [dropped] = step(Config(min_confidence=min(confidence + 0.0001, 1)))([document(TEXTS["de"])])
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "uncertain"


def test_a_text_that_tells_nothing_is_undetermined() -> None:
    assert [identify(text)[0] for text in ("", "   ", "\x00")] == ["und"] * 3


def test_of_a_long_text_a_part_is_read_whatever_its_length() -> None:
    middle = "x " * 5_000_000
    assert identify(TEXTS["de"] * 20 + middle) == identify(TEXTS["de"] * 20 + middle + "x " * 2000)
    exactly = (TEXTS["ru"] * 100)[: STRETCHES * STRETCH_CHARS]
    assert identify(exactly)[0] == identify(exactly + "и")[0] == "ru"


def test_documents_are_taken_one_by_one() -> None:
    def source() -> Iterator[Document]:
        yield document(TEXTS["en"])
        raise AssertionError("the second document was asked for")

    assert next(step(Config())(source())) == document(TEXTS["en"], "en")


def test_what_is_no_language_code_is_refused() -> None:
    with pytest.raises(ValidationError, match="keep"):
        Config.model_validate({"keep": ["german"]})


@given(st.text(st.characters()))
@settings(max_examples=300, deadline=None)
def test_any_text_gets_a_code(text: str) -> None:
    code, confidence = identify(text)
    assert code.isalpha()
    assert 0 <= confidence <= 1
