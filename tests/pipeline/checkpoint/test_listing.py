"""What `spanwright checkpoints` shows."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from data_prep.errors import InputError
from launch.listing import checkpoint_table
from pipeline.checkpoint.origin import go_back
from pipeline.checkpoint.places import open_store

from .conftest import write


def test_checkpoints_are_listed_newest_first_then_damage_then_what_was_set_aside(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoints here yet"):
        checkpoint_table(str(tmp_path))
    store = open_store(tmp_path)
    for step in (5, 10, 15):
        write(store, step, keep_last=3)
    go_back(tmp_path, 10)
    (tmp_path / "step-00000005" / "state.json").write_bytes(b"{}")
    shown = io.StringIO()
    Console(width=300, file=shown).print(checkpoint_table(str(tmp_path)))
    lines = [line.split() for line in shown.getvalue().splitlines() if "step-" in line]
    assert [(line[0], line[-1]) for line in lines][::2] == [
        ("step-00000010", "valid"), ("left-step-00000015", "aside"),
    ]  # fmt: skip
    assert "state.json:" in " ".join(lines[1])
    narrow = io.StringIO()
    Console(width=60, file=narrow).print(checkpoint_table(str(tmp_path)))
    assert {"step-00000010", "step-00000005", "left-step-00000015"} <= set(narrow.getvalue().split())
