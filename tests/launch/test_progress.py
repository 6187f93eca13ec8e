"""What a preparation shows on a terminal."""

import io

import pytest
from rich.console import Console

from launch import progress as shown


def test_a_bar_tells_documents_rates_errors_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    monkeypatch.setattr(shown, "console", console)
    with shown.preparation_progress() as progress:
        progress.start("tokenize", 4_000_000)
        progress.advance(1_000_000, 2000, 300_000, 7)
        told = progress._told()  # the frame that is drawn depends on when
        progress.finish()
    assert told.startswith("2.0 k documents (")
    for part in ("/s), ", " MB/s, ", " tokens/s, ", "7 errors, ", " s left"):
        assert part in told
    assert "tokenize" in screen.getvalue()


def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    monkeypatch.setattr(shown, "console", Console(file=io.StringIO(), force_terminal=False))
    monkeypatch.setattr(shown, "detail", lines.append)
    with shown.preparation_progress() as progress:
        progress.start("read", 100)
        progress.advance(100, 1, 0, 0)
        progress.finish()
    assert lines == ["read: 100 bytes, 1 document in 0.0 s"]
    assert not isinstance(progress, shown.TerminalProgress)
