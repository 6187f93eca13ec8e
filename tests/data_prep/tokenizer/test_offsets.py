"""Where tokens begin: against the decoded pieces for lossless models, within the text for others."""

from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.config import TokenizerConfig
from data_prep.errors import InputError
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.own import adopt_model
from data_prep.tokenizer.train import train_model

TEXT = st.text(
    st.sampled_from(list("the def\n\t\u2581\0\u00e9\u6f22\U0001f600")) | st.characters(exclude_categories=["Cs"])
)


@pytest.fixture(scope="module")
def texts(corpus: Path) -> list[str]:
    return [path.read_text("utf-8") for path in sorted((corpus / "json").rglob("*.py"))]


@pytest.fixture(scope="module", params=["unigram", "bpe", "char", "byte"])
def lossless(request: pytest.FixtureRequest, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "spiece.model").write_bytes(train_model(texts, TokenizerConfig(kind=request.param, vocab_size=900)).model)
    return Tokenizer.load(folder)


@pytest.fixture(scope="module", params=[{}, {"byte_fallback": True}, {"model_type": "bpe"}], ids=str)
def lossy(request: pytest.FixtureRequest, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("\n".join(texts).splitlines()),
        model_prefix=str(folder / "own"),
        vocab_size=900,
        minloglevel=2,
        **request.param,
    )
    (folder / "spiece.model").write_bytes(adopt_model(folder / "own.model"))
    return Tokenizer.load(folder)


def starts_one_by_one(tokenizer: Tokenizer, ids: np.ndarray) -> list[int]:
    """The slow way: how many whole characters the pieces before each one hold."""
    pieces = [tokenizer._piece_bytes[index] for index in ids]
    return [len(b"".join(pieces[:number]).decode(errors="ignore")) for number in range(len(pieces))]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT)
def test_every_token_begins_where_the_pieces_before_it_end(lossless: Tokenizer, text: str) -> None:
    ids = lossless.encode(text)
    starts = lossless.token_starts(text, ids)
    assert starts.dtype == np.int32
    assert starts.tolist() == starts_one_by_one(lossless, ids)


def test_the_bytes_of_a_character_begin_at_it(lossless: Tokenizer) -> None:
    text = "x\u6f22\u2581y"
    starts = lossless.token_starts(text, lossless.encode(text))
    assert starts.tolist() == [0, 1, 1, 1, 2, 2, 2, 3]


def test_a_special_token_begins_where_the_next_token_does(lossless: Tokenizer) -> None:
    special = lossless.special
    ids = [special.bos, *lossless.encode("xy"), special.eos]
    starts = lossless.token_starts("xy", np.array(ids))
    assert (starts[0], starts[1], starts[-1]) == (0, 0, 2)


def test_a_long_text_of_many_segments(lossless: Tokenizer, texts: list[str]) -> None:
    text = "".join(texts) + "\u00e9\u6f22 " * 5000
    ids = lossless.encode(text)
    starts = lossless.token_starts(text, ids)
    assert np.all(np.diff(starts) >= 0)
    pieces = [lossless._piece_bytes[index] for index in ids[:3000]]
    assert starts[:3000].tolist() == np.cumsum([0, *map(len, pieces[:-1])]).tolist()  # ASCII so far
    assert lossless.decode(ids[starts >= len(text) - 100]) == text[-100:]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXT)
def test_a_model_that_changes_text_says_where_its_pieces_came_from(lossy: Tokenizer, text: str) -> None:
    ids = lossy.encode(text)
    starts = lossy.token_starts(text, ids)
    assert len(starts) == len(ids)
    assert np.all(np.diff(starts) >= 0)
    assert np.all((starts >= 0) & (starts < max(1, len(text))))


def test_a_model_that_removes_white_space_skips_it(lossy: Tokenizer) -> None:
    text = "  def   return"
    ids = lossy.encode(text)
    starts = lossy.token_starts(text, ids)
    assert lossy.decode(ids).split() == ["def", "return"]
    assert int(starts[-1]) > text.index("f")


def test_ids_of_another_text_are_refused(lossless: Tokenizer, lossy: Tokenizer) -> None:
    for tokenizer in (lossless, lossy):
        with pytest.raises(InputError, match="token ids are not what this tokenizer gives"):
            tokenizer.token_starts("another text", tokenizer.encode("a text"))


def test_an_empty_text_has_no_tokens(lossless: Tokenizer) -> None:
    assert lossless.token_starts("", lossless.encode("")).tolist() == []
