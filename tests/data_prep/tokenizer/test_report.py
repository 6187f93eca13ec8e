import json
from pathlib import Path

import pytest

from data_prep.config import TokenizerConfig
from data_prep.tokenizer import Tokenizer
from data_prep.tokenizer.report import vocabulary_report
from data_prep.tokenizer.train import train_model

ENGLISH, GERMAN = "the cat and the dog " * 30, "die Katze und der Hund " * 30
SAMPLE = [("en", "a.txt", ENGLISH), ("de", "b.txt", GERMAN), ("", "b.txt", "\u6f22\u5b57")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "spiece.model").write_bytes(train_model([ENGLISH, GERMAN, "unseen words"], TokenizerConfig()).model)
    return Tokenizer.load(folder)


def test_figures_by_language_and_source_follow_from_the_ids(tokenizer: Tokenizer) -> None:
    report = vocabulary_report(tokenizer, SAMPLE)
    english = report["languages"]["en"]
    num_tokens = len(tokenizer.encode(ENGLISH))
    assert list(report["languages"]) == ["", "de", "en"]
    assert english["words"] == 150
    assert english["tokens"] == num_tokens
    assert english["tokens_per_word"] == num_tokens / 150
    assert english["characters_per_token"] == len(ENGLISH) / num_tokens
    assert english["byte_tokens_share"] == 0.0
    assert report["languages"][""]["byte_tokens_share"] == 1.0
    assert report["sources"]["b.txt"]["documents"] == 2
    assert report["sources"]["b.txt"]["tokens"] == report["total"]["tokens"] - num_tokens


def test_longest_used_and_unused_pieces_are_listed(tokenizer: Tokenizer) -> None:
    report = vocabulary_report(tokenizer, SAMPLE)
    lengths = [len(piece["piece"]) for piece in report["longest"]]
    assert lengths == sorted(lengths, reverse=True)
    counts = [piece["count"] for piece in report["most_used"]]
    assert counts == sorted(counts, reverse=True)
    assert all(piece["count"] == 0 for piece in report["unused"]["examples"])
    assert 0 < report["unused"]["count"] < report["unused"]["of"]
    assert all(tokenizer.id_to_piece(piece["id"]) == piece["piece"] for piece in report["longest"])


def test_the_report_is_json_and_depends_on_no_order(tokenizer: Tokenizer) -> None:
    forward, backward = vocabulary_report(tokenizer, SAMPLE), vocabulary_report(tokenizer, reversed(SAMPLE))
    assert json.dumps(forward) == json.dumps(backward)


def test_a_report_on_nothing_has_no_ratios(tokenizer: Tokenizer) -> None:
    report = vocabulary_report(tokenizer, [])
    assert report["total"]["tokens"] == 0
    assert report["total"]["tokens_per_word"] is None
    assert report["unused"]["count"] == report["unused"]["of"]
    assert vocabulary_report(tokenizer, [("en", "a", "")])["total"]["characters_per_token"] is None


def test_a_byte_vocabulary_has_no_ordinary_pieces(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(train_model([], TokenizerConfig(kind="byte")).model)
    report = vocabulary_report(Tokenizer.load(tmp_path), SAMPLE)
    assert report["longest"] == []
    assert report["total"]["characters_per_token"] < 1
