"""Identity with SentencePiece on this machine's own text: manual pages in many languages, documentation, code."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import corpus
from data_prep.config import TokenizerConfig
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.train import train_model

FULL_BYTES = 100 * 10**6


def _tokenizer(groups: dict[str, list[str]], folder: Path, vocab_size: int, sample_bytes: int) -> Tokenizer:
    stride = max(1, sum(len(text) for texts in groups.values() for text in texts) // sample_bytes)
    sample = [text for texts in groups.values() for text in texts[::stride]]
    (folder / "spiece.model").write_bytes(train_model(sample, TokenizerConfig(vocab_size=vocab_size)).model)
    return Tokenizer.load(folder)


def _compare(tokenizer: Tokenizer, groups: dict[str, list[str]]) -> int:
    """How many bytes were compared; every text has the same ids both ways and comes back."""
    assert tokenizer.why_slow is None
    for name, texts in groups.items():
        for number, text in enumerate(texts):
            ids = tokenizer.encode(text)
            assert np.array_equal(ids, tokenizer.encode_slowly(text)), (name, number)
            assert tokenizer.decode(ids) == text, (name, number)
    return sum(len(text.encode()) for texts in groups.values() for text in texts)


def test_the_standard_library_has_the_ids_of_sentencepiece(tmp_path: Path) -> None:
    groups = {"code": corpus.code_texts(3_000_000)}
    assert _compare(_tokenizer(groups, tmp_path, 4000, 300_000), groups) > 2_000_000


@pytest.mark.long
def test_a_hundred_megabytes_in_many_languages_have_the_ids_of_sentencepiece(tmp_path: Path) -> None:
    """Needs installed documentation, e.g. python3-doc, debian-handbook and manpages-{de,fr,ru,ja,zh}."""
    groups = {**corpus.natural_texts(60_000_000), "code": corpus.code_texts(60_000_000)}
    languages = [name for name in groups if name not in ("code", "en")]
    assert len(languages) >= 5, f"only {languages}: install manual pages in more languages"
    compared = _compare(_tokenizer(groups, tmp_path, 32_000, 8_000_000), groups)
    assert compared >= FULL_BYTES, f"only {compared} bytes of text here: install more documentation packages"
