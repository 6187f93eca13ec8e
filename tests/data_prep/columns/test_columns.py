"""Columns line up with tokens, whatever the text; what they say reads right."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_prep.columns.annotate import annotated, column_types, column_versions, columns_of
from data_prep.columns.characters import Texts, anchors, unit_starts
from data_prep.columns.config import ColumnsConfig
from data_prep.columns.origin import lang_code, lang_number
from data_prep.columns.sents import sentence_starts
from data_prep.errors import InputError
from data_prep.shards import ChunkBuilder
from data_prep.shards.columns import SETTINGS
from data_prep.sources.document import Document
from data_prep.tokenizer import Tokenizer

ALL: dict[str, Any] = {"words": "unicode", "sents": "rules", "lang": True, "pair": True, "spans": "html"}


def config(**values: Any) -> ColumnsConfig:
    return ColumnsConfig.model_validate(values)


def grouped(tokenizer: Tokenizer, text: str, column: str, **values: Any) -> list[str]:
    """The text of each unit of a column."""
    ids = tokenizer.encode(text)
    marks = columns_of(Document("x", text, "x"), ids, tokenizer, config(**values))[column]
    return [tokenizer.decode(part) for part in np.split(ids, np.flatnonzero(marks)[1:])]


def test_nothing_is_written_unless_it_is_asked_for(tokenizer: Tokenizer) -> None:
    assert columns_of(Document("x", "a b", "x"), tokenizer.encode("a b"), tokenizer, config()) == {}
    assert column_types(config()) == {}


@settings(deadline=None, max_examples=200)
@given(st.text(st.one_of(st.sampled_from("aé字😀\u0301 .\n\t<p>/\u2581"), st.characters(exclude_categories=["Cs"]))))
@example(" ")
@example("\u2581\u2581 a")
@example("   \n\n   ")
def test_columns_line_up_with_the_tokens_of_any_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    document = Document("x", text, "x", lang="de", pair="k")
    columns = columns_of(document, ids, tokenizer, config(**ALL))
    types = column_types(config(**ALL))
    assert list(columns) == ["words", "sents", "spans", "lang", "pair"]
    assert {name: str(column.dtype) for name, column in columns.items()} == {n: types[n].dtype for n in columns}
    for name in ("words", "sents"):
        assert columns[name].shape == ids.shape
        assert not len(ids) or columns[name][0] == 1
        assert set(columns[name].tolist()) <= {0, 1}
    builder = ChunkBuilder("uint16")
    assert builder.add("x", ids, columns) is None
    chunk = builder.finish()
    assert chunk is not None
    chunk.check()  # spans lie within the document


ANY_TEXT = st.text(
    st.one_of(
        st.sampled_from("aAéж字😀\u0301'1 .!\n\r\t\u2029\u200d<p>/\u2581"), st.characters(exclude_categories=["Cs"])
    )
)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(ANY_TEXT, max_size=8), st.sampled_from(["rules", "unicode"]), st.sampled_from(["whitespace", "unicode"])
)
@example(["A.\r", "\nb c", " ", "", "\u0301 Dr", ". J", ". K"], "rules", "unicode")
@example(["a.\n", "\r\r", "\nAb. x", "  ", " c", "字", "字"], "rules", "whitespace")
def test_documents_get_the_columns_together_that_they_get_alone(
    tokenizer: Tokenizer, texts: list[str], sents: str, words: str
) -> None:
    asked = config(**(ALL | {"words": words, "sents": sents}))
    encoded = [(Document(str(n), text, "x", lang="de"), tokenizer.encode(text)) for n, text in enumerate(texts)]
    together = list(annotated(encoded, tokenizer, asked))
    assert [document.text for document, _, _ in together] == texts
    for document, token_ids, columns in together:
        alone = columns_of(document, token_ids, tokenizer, asked)
        assert {name: column.tolist() for name, column in columns.items()} == {n: c.tolist() for n, c in alone.items()}


def test_words_take_the_space_before_them_and_bytes_stay_together(tokenizer: Tokenizer) -> None:
    text = "They didn't pay 3.5 francs 𝄞x.  Yes"
    found = grouped(tokenizer, text, "words", words="unicode")
    assert found == ["They", " didn't", " pay", " 3.5", " francs", " 𝄞", "x", ".", " ", " Yes"]


def test_sentences_are_whole_and_their_spaces_belong_to_the_one_before(tokenizer: Tokenizer) -> None:
    text = "Dr. Who met J. Doe.  They\nspoke.\n\n  Yes! No"
    found = grouped(tokenizer, text, "sents", sents="rules")
    assert [" ".join(part.split()) for part in found] == ["Dr. Who met J. Doe.", "They spoke.", "Yes!", "No"]
    assert "".join(found) == text


def test_a_token_stands_for_its_first_character_that_is_no_space() -> None:
    texts = Texts(["ab  c   \u00a0d\n"])
    starts = np.array([0, 2, 5, 7, 10, 10], np.int32)
    anchored = anchors(texts, starts, [6])
    assert anchored.places.tolist() == [0, 4, 5, 9, 10, 10]
    assert anchored.blank_tokens.tolist() == [2, 4, 5]
    assert unit_starts(np.ones(11, np.uint8), anchored).tolist() == [1, 1, 1, 1, 1, 0]
    assert anchored.places_of_text().tolist() == [0, 4, 4, 9, 9, 9]
    assert sentence_starts(np.array([0, 1, 5, 10]), anchored).tolist() == [1, 1, 0, 1, 0, 0]


def test_a_space_before_a_word_belongs_to_it_and_longer_white_space_does_not() -> None:
    anchored = anchors(Texts(["a b  c "]), np.arange(7, dtype=np.int32), [7])
    assert anchored.places.tolist() == [0, 2, 2, 3, 5, 5, 6]
    assert anchored.blank_tokens.tolist() == [3, 6]


def test_language_numbers_are_letters_and_come_back() -> None:
    assert (lang_number("de"), lang_number(None), lang_number("zzz")) == (113, 0, 19682)
    for code in ("de", "gsw", "aa", "zzz"):
        assert lang_code(lang_number(code)) == code
    assert lang_code(lang_number("zh-Hant")) == lang_code(lang_number("ZH_TW")) == "zh"
    assert lang_code(0) is None
    for code in ("english", "d", "d1", "дe"):
        with pytest.raises(InputError, match="is not a language code of two or three letters"):
            lang_number(code)


def test_documents_of_a_pair_share_a_number_and_others_do_not(tokenizer: Tokenizer) -> None:
    pairs = [
        int(
            columns_of(Document("x", "a", "x", pair=pair), tokenizer.encode("a"), tokenizer, config(pair=True))["pair"][
                0
            ]
        )
        for pair in ("1", "1", "2", None)
    ]
    assert pairs[0] == pairs[1] != pairs[2]
    assert pairs[3] == 0 < min(pairs[:3])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"words": "A!"}, "pattern"),
        ({"sents": "magic"}, "'rules' or 'unicode'"),
        ({"weight": {"kind": "idf", "min_count": 3}}, "min_count is about kind: pmi"),
        ({"lang": "yes"}, "true or false"),
        ({"word": "unicode"}, "Extra inputs"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        config(**values)


def test_types_and_versions_follow_the_config() -> None:
    assert list(column_types(config(**ALL, weight="pmi"))) == [
        "words",
        "sents",
        "lang",
        "pair",
        "spans",
        "weight",
        "ngrams",
    ]
    assert list(column_types(config(weight={"kind": "idf"}))) == ["weight"]
    assert column_versions(config(lang=True)) == ["columns 1"]
    assert [part.split()[0] for part in column_versions(config(words="unicode", spans="python"))] == [
        "columns",
        "icu4py",
        "tree-sitter",
        "tree-sitter-python",
    ]


def test_the_command_that_makes_a_missing_column_makes_it() -> None:
    for name, setting in SETTINGS.items():
        key, value = setting.removeprefix("data.columns.").split("=")
        assert name in column_types(config(**{key: value == "true" or value}))
