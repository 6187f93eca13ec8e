import itertools
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.config import TokenizerConfig
from data_prep.errors import InputError
from data_prep.tokenizer import SpecialTokens, Tokenizer
from data_prep.tokenizer.segments import SEGMENT_CHARS, segments
from data_prep.tokenizer.special import SPECIAL_PIECES
from data_prep.tokenizer.train import train_model

AWKWARD = [
    "",
    " ",
    "\n",
    "\t",
    "\0",
    "a\0b",
    "\u2581",
    "a\u2581\u2581b \u2581 c",
    "  leading and trailing  ",
    "def f(x):\n\tif x:\n        return  x\r\n\n\n",
    "</s> <s> <pad> <unk> <extra_id_0><extra_id_99> <spare_3> <0x0A> <mask>",
    "\u2585\ufffd\ufeff\u00a0\u3000",
    "e\u0301 \u00e9 \u6f22\u5b57 \U0001f600\U0001f468\u200d\U0001f469",
    "x" * 20_000,
    " " * 20_000,
    "ab " * 7_000,
    "\u2581" * 5_000,
    "\n" * 9_000,
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
SPACED = st.text(st.sampled_from(list(" \n\t\ra\u2581.<>\0")), max_size=200)


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    texts = [path.read_text("utf-8") for path in sorted((corpus / "json").rglob("*.py"))]
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "spiece.model").write_bytes(train_model(texts, TokenizerConfig(kind=request.param, vocab_size=900)).model)
    return Tokenizer.load(folder)


def test_special_ids_are_where_the_design_puts_them(tokenizer: Tokenizer) -> None:
    pieces = [tokenizer.id_to_piece(index) for index in range(171)]
    assert pieces == list(SPECIAL_PIECES)
    assert tokenizer.special == SpecialTokens()
    assert list(tokenizer.special.all) == list(range(171))
    assert tokenizer.special.sentinels == range(7, 107)
    assert tokenizer.special.spares == range(107, 171)


@pytest.mark.parametrize("text", AWKWARD, ids=lambda text: repr(text[:12]))
def test_awkward_text_comes_back_and_yields_no_special_id(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    assert not np.isin(ids, tokenizer.special.all).any()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ANY_TEXT | SPACED)
def test_any_text_comes_back_and_yields_no_special_id(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not np.isin(ids, tokenizer.special.all).any()


def test_every_file_of_the_corpus_comes_back(tokenizer: Tokenizer, corpus: Path) -> None:
    for path in sorted(corpus.rglob("*.py")):
        text = path.read_text("utf-8")
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_decoding_leaves_special_tokens_out_and_marks_broken_bytes(tokenizer: Tokenizer) -> None:
    special = tokenizer.special
    assert tokenizer.decode([special.bos, *tokenizer.encode("x y"), special.sentinels[3], special.eos]) == "x y"
    first_byte = tokenizer.encode("\u6f22")[:1]
    assert tokenizer.is_byte(int(first_byte[0]))
    assert tokenizer.decode(first_byte) == "\ufffd"


def test_a_lone_surrogate_is_refused_with_its_place(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="character 2"):
        tokenizer.encode("ab\ud800")


def test_encoding_does_not_depend_on_the_segments_of_ordinary_text(tokenizer: Tokenizer, corpus: Path) -> None:
    text = "".join(path.read_text("utf-8") for path in sorted((corpus / "json").rglob("*.py")))
    parts = list(segments(text))
    assert len(parts) > 3
    assert np.array_equal(tokenizer.encode(text), np.concatenate([tokenizer.encode(part) for part in parts]))


def _encode_elsewhere(tokenizer: Tokenizer, text: str) -> tuple[str, list[int]]:
    return tokenizer.digest, tokenizer.encode(text).tolist()


def test_another_process_gets_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_encode_elsewhere, (tokenizer, "for x in y:")) == _encode_elsewhere(tokenizer, "for x in y:")
    assert pickle.loads(pickle.dumps(tokenizer)).digest == tokenizer.digest  # noqa: S301 - our own bytes


def test_a_folder_without_a_model_and_a_broken_model_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"spiece\.model"):
        Tokenizer.load(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"not a model")
    with pytest.raises(InputError, match="not a SentencePiece model"):
        Tokenizer.load(tmp_path)


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.text(st.sampled_from(list("ab\u2581\u00e9")), min_size=1, max_size=900), max_size=40),
    space=st.sampled_from(" \n\t"),
)
def test_segments_join_to_the_text_and_split_no_word(words: list[str], space: str) -> None:
    text = space.join(words)
    parts = list(segments(text))
    assert "".join(parts) == text
    assert all(len(part) >= SEGMENT_CHARS for part in parts[:-1])
    assert all(after[0].isspace() and not before[-1].isspace() for before, after in itertools.pairwise(parts))


def test_segments_prefer_a_space_to_a_newline() -> None:
    word, long = "a" * SEGMENT_CHARS, "b" * SEGMENT_CHARS
    assert [len(part) for part in segments(f"{word}\nb c")] == [SEGMENT_CHARS + 2, 2]
    assert [len(part) for part in segments(f"{word}\nb")] == [SEGMENT_CHARS + 2]
    assert [len(part) for part in segments(f"{word}\n{long}")] == [SEGMENT_CHARS, SEGMENT_CHARS + 1]
    assert [len(part) for part in segments(word + word + long)] == [3 * SEGMENT_CHARS]


def test_a_segment_is_one_segment(corpus: Path) -> None:
    text = "".join(path.read_text("utf-8") for path in sorted(corpus.rglob("*.py")))
    for part in segments(text):
        assert list(segments(part)) == [part]
