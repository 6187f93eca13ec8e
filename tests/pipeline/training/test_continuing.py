"""Foreign or changed data is refused with both values; with the user's word it is taken, and the change recorded."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_prep.errors import InputError
from pipeline.checkpoint.format import DataChange, Record
from pipeline.checkpoint.permission import FILE, allow_data_change, data_change_allowed
from pipeline.config import RunConfig, load_run
from pipeline.training.continuing import Lineage, check_and_continue

DATASET, STREAM, TOKENIZER = "a" * 64, "b" * 64, "c" * 64
LABEL = "stream of samples (or a table of similar tokens)"


@pytest.fixture
def config(make_run: Any) -> RunConfig:
    return load_run(make_run())


def record(config: RunConfig, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "step": 5, "position": 20, "tokens": 100, "config": config.model_dump(mode="json"),
        "dataset_fingerprint": DATASET, "stream_fingerprint": STREAM, "tokenizer_digest": TOKENIZER, "parameters": {},
        "last_loss": None, "heldout": {}, "environment": {},
    }  # fmt: skip
    return Record.model_validate(fields | changes)


def data(dataset: str = DATASET, stream: str = STREAM, tokenizer: str = TOKENIZER) -> Any:
    return SimpleNamespace(
        dataset=SimpleNamespace(folder=Path("the/data"), fingerprint=dataset),
        stream_fingerprint=stream,
        tokenizer=SimpleNamespace(digest=tokenizer),
    )


def test_the_same_data_goes_on_without_a_word(config: RunConfig) -> None:
    said: list[str] = []
    assert check_and_continue(record(config), config, data(), False, said.append) == Lineage()
    assert said == []


@pytest.mark.parametrize(
    ("found", "what"),
    [({"dataset": "d" * 64}, "dataset"), ({"stream": "d" * 64}, LABEL), ({"tokenizer": "d" * 64}, "tokenizer")],
)
def test_other_data_is_refused_with_both_fingerprints(config: RunConfig, found: dict[str, str], what: str) -> None:
    with pytest.raises(InputError) as caught:
        check_and_continue(record(config), config, data(**found), False, lambda text: None)
    message = str(caught.value)
    assert message.startswith(f"the/data: the {what} is not the one this run was trained on (fingerprint ")
    assert "then, dddddddddddd now)" in message
    assert ("--allow-data-change" in message) == (what != "tokenizer")


def test_other_data_is_taken_with_the_users_word_and_the_change_is_recorded(config: RunConfig) -> None:
    wider = config.model_copy(update={"stream": config.stream.model_copy(update={"window": 64})})
    said: list[str] = []
    lineage = check_and_continue(record(config), wider, data("d" * 64, "e" * 64), True, said.append)
    change = DataChange(
        step=5, position=20,
        changed={"dataset": (DATASET, "d" * 64), LABEL: (STREAM, "e" * 64), "stream.window": (48, 64)},
    )  # fmt: skip
    assert lineage == Lineage(data_changes=[change])
    assert said == [f"the data changes from position 20 on: dataset, {LABEL}, stream.window"]
    again = record(wider, dataset_fingerprint="d" * 64, stream_fingerprint="e" * 64, data_changes=[change])
    assert check_and_continue(again, wider, data("d" * 64, "e" * 64), False, said.append) == lineage


@pytest.mark.parametrize("allowed", [False, True])
def test_another_tokenizer_seed_or_model_is_refused_whatever_was_said(config: RunConfig, allowed: bool) -> None:
    other_seed = config.model_copy(update={"run": config.run.model_copy(update={"seed": 6})})
    other_model = config.model_copy(update={"model": config.model.model_copy(update={"d_ff": 96})})
    for now, found, message in (
        (config, {"tokenizer": "d" * 64}, r"the tokenizer is not the one .*cccccccccccc then, dddddddddddd now"),
        (other_seed, {}, "run.seed was 5 when this run was trained and is 6 now"),
        (other_model, {}, "model.d_ff was 64 when this run was trained and is 96 now"),
    ):
        with pytest.raises(InputError, match=message):
            check_and_continue(record(config), now, data(**found), allowed, lambda text: None)


def test_the_users_word_holds_for_one_checkpoint_until_the_next_is_saved(config: RunConfig, tmp_path: Path) -> None:
    train_dir = tmp_path / "run" / "train"
    first = record(config, saved_at="2026-01-01T00:00:00+00:00")
    assert not data_change_allowed(train_dir, first)
    allow_data_change(train_dir, first)
    assert data_change_allowed(train_dir, first)
    for other in ({"step": 6}, {"saved_at": "2026-01-01T00:00:01+00:00"}):
        assert not data_change_allowed(train_dir, first.model_copy(update=other))
    for garbled in (b"", b"{", b"\xff", b"[]", b"true"):
        (train_dir / FILE).write_bytes(garbled)
        assert not data_change_allowed(train_dir, first)
