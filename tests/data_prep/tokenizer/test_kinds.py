"""Character and byte vocabularies: ordinary SentencePiece models, lossless, with the reserved ids in place."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.config import TokenizerConfig
from data_prep.tokenizer import SpecialTokens, Tokenizer
from data_prep.tokenizer.own import adopt_model, loss_note
from data_prep.tokenizer.special import SPECIAL_PIECES
from data_prep.tokenizer.train import train_model

TEXTS = ["The quick brown fox\n\tjumps over \u6f22\u5b57 \u00e9t\u00e9. " * 20]


def made(kind: str, folder: Path, vocab_size: int = 512, texts: list[str] = TEXTS) -> Tokenizer:
    config = TokenizerConfig.model_validate({"kind": kind, "vocab_size": vocab_size})
    (folder / "spiece.model").write_bytes(train_model(texts, config).model)
    return Tokenizer.load(folder)


@pytest.fixture(scope="module", params=["char", "byte"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return made(request.param, tmp_path_factory.mktemp("tokenizer"))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from(list("Theq \n\t\u2581\0<>/s"))))
def test_any_text_comes_back_and_yields_no_special_id(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not np.isin(ids, tokenizer.special.all).any()


def test_reserved_ids_are_in_place_and_the_model_can_be_brought_back(tokenizer: Tokenizer) -> None:
    assert tokenizer.special == SpecialTokens()
    assert [tokenizer.id_to_piece(index) for index in range(171)] == list(SPECIAL_PIECES)
    model = tokenizer.folder / "spiece.model"
    assert adopt_model(model) == model.read_bytes()
    assert loss_note(tokenizer) is None


def test_the_ids_of_a_byte_vocabulary_are_the_bytes(tmp_path: Path) -> None:
    tokenizer = made("byte", tmp_path, vocab_size=32128)
    text = "a \u6f22\u2581\n"
    assert tokenizer.vocab_size == 427
    assert (tokenizer.encode(text) - len(SPECIAL_PIECES)).tolist() == list(text.encode())


def test_a_char_vocabulary_has_one_token_a_character(tmp_path: Path) -> None:
    tokenizer = made("char", tmp_path)
    assert len(tokenizer.encode("fox \u6f22\n")) == 6
    assert len(tokenizer.encode("\u6f23")) == 3  # not in the corpus: its bytes


def test_a_char_vocabulary_too_small_keeps_the_most_frequent(tmp_path: Path) -> None:
    frequent, rare = "".join(chr(0x4E00 + number) for number in range(60)), "".join(map(chr, range(0x5000, 0x5100)))
    tokenizer = made("char", tmp_path, texts=[frequent * 50 + rare])
    assert tokenizer.vocab_size == 512
    assert len(tokenizer.encode(frequent)) == len(frequent)
    assert len(tokenizer.encode(rare)) > 2 * len(rare)


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_the_same_texts_give_the_same_model(kind: str, tmp_path: Path) -> None:
    assert made(kind, tmp_path).digest == made(kind, tmp_path).digest
