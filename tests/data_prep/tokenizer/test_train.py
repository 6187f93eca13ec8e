import hashlib
from pathlib import Path

import numpy as np
import pytest
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from data_prep.config import TokenizerConfig
from data_prep.errors import InputError
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.own import adopt_model, loss_note
from data_prep.tokenizer.special import SPECIAL_PIECES
from data_prep.tokenizer.train import train_model


@pytest.fixture(scope="module")
def texts(corpus: Path) -> list[str]:
    return [path.read_text("utf-8") for path in sorted((corpus / "json").rglob("*.py"))]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_same_texts_give_the_same_bytes(kind: str, texts: list[str]) -> None:
    config = TokenizerConfig.model_validate({"kind": kind, "vocab_size": 700})
    first, second = train_model(texts, config), train_model(texts, config)
    assert hashlib.sha256(first.model).hexdigest() == hashlib.sha256(second.model).hexdigest()
    assert first.vocab_size == 700


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("text", ["hi", "a", " a ", "word " * 50, "\u6f22\u5b57\n\n\tx"])
def test_a_tiny_corpus_shrinks_the_vocabulary(kind: str, text: str, tmp_path: Path) -> None:
    trained = train_model([text], TokenizerConfig.model_validate({"kind": kind}))
    assert 427 < trained.vocab_size < 600
    (tmp_path / "spiece.model").write_bytes(trained.model)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.vocab_size == trained.vocab_size
    assert tokenizer.decode(tokenizer.encode(text + "\u00e9 other")) == text + "\u00e9 other"


@pytest.mark.parametrize("texts", [[], [""], ["\n\n", "\n"]])
def test_nothing_to_train_on_is_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="no text to train a tokenizer on"):
        train_model(texts, TokenizerConfig())


def test_a_vocabulary_too_small_for_the_characters_says_how_many_are_needed() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(400))
    with pytest.raises(InputError, match=r"vocab_size=512 .* at least 8\d\d"):
        train_model([text], TokenizerConfig(vocab_size=512))


def test_literal_special_pieces_in_the_corpus_do_not_break_training(tmp_path: Path) -> None:
    text = "<extra_id_0> </s> <0x0A> <spare_1> <pad> \u2581 " * 200
    (tmp_path / "spiece.model").write_bytes(train_model([text], TokenizerConfig()).model)
    tokenizer = Tokenizer.load(tmp_path)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not np.isin(ids, tokenizer.special.all).any()


def test_an_own_model_keeps_its_ids_and_gains_the_special_tokens(texts: list[str], tmp_path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("\n".join(texts).splitlines()),
        model_prefix=str(tmp_path / "own"),
        vocab_size=600,
        minloglevel=2,
    )
    (tmp_path / "spiece.model").write_bytes(adopt_model(tmp_path / "own.model"))
    tokenizer = Tokenizer.load(tmp_path)
    own = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "own.model"))
    assert tokenizer.encode("def f(x): return x").tolist() == own.encode("def f(x): return x")
    assert (tokenizer.special.unk, tokenizer.special.bos, tokenizer.special.eos) == (0, 1, 2)
    assert tokenizer.vocab_size == 600 + len(SPECIAL_PIECES) - 3
    assert tokenizer.id_to_piece(tokenizer.special.sentinels[5]) == "<extra_id_5>"
    assert not np.isin(tokenizer.encode("<extra_id_5> <mask> </s>"), tokenizer.special.sentinels).any()
    assert "loses text" in (loss_note(tokenizer) or "")


def test_a_model_trained_here_is_taken_as_it_is(texts: list[str], tmp_path: Path) -> None:
    model = train_model(texts, TokenizerConfig(vocab_size=600)).model
    (tmp_path / "spiece.model").write_bytes(model)
    assert adopt_model(tmp_path / "spiece.model") == model
    assert loss_note(Tokenizer.load(tmp_path)) is None


def test_an_own_model_whose_text_could_yield_a_special_token_is_refused(texts: list[str], tmp_path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("\n".join(texts).splitlines()),
        model_prefix=str(tmp_path / "own"),
        vocab_size=600,
        user_defined_symbols=["<mask>"],
        minloglevel=2,
    )
    with pytest.raises(InputError, match="<mask> is an ordinary piece"):
        adopt_model(tmp_path / "own.model")
    with pytest.raises(InputError, match=r"none\.model"):
        adopt_model(tmp_path / "none.model")


def test_scores_of_a_unigram_model_add_up_exactly_in_any_order(texts: list[str]) -> None:
    model = train_model(texts, TokenizerConfig(vocab_size=700)).model
    pieces = [piece for piece in ModelProto.FromString(model).pieces if piece.type == piece.NORMAL]
    assert pieces
    for piece in pieces:
        assert (piece.score * 256).is_integer()
        assert piece.score > -16.0  # 4096 pieces of this stay below 2**24 steps of 1/256


def test_a_single_word_of_megabytes_is_trained_on(tmp_path: Path) -> None:
    trained = train_model(["gattaca" * 200_000], TokenizerConfig.model_validate({"vocab_size": 512, "kind": "bpe"}))
    (tmp_path / "spiece.model").write_bytes(trained.model)
    assert len(Tokenizer.load(tmp_path).encode("gattaca" * 100)) < 200
