"""history.jsonl: what happened to a training, by the clock. Unlike metrics.jsonl it is never cut back.

    {"time": ..., "event": "start", "step": 60, "host": ..., "environment": {...}, "changes": [...]}
    {"time": ..., "event": "saved", "step": 90, "seconds": ..., "stall_seconds": ...}
    {"time": ..., "event": "rollback", "step": 90, "reason": ..., "skipped": [start, stop]}
    {"time": ..., "event": "trouble", "step": 97, "action": "warn" | "skip", "reason": ..., "samples": [start, stop]}
    {"time": ..., "event": "stopped" | "done", "step": 140}        {"time": ..., "event": "failed", "reason": ...}

A start that follows no end was a process that died. Times have a zone.
"""

import contextlib
import datetime
import json
from pathlib import Path
from typing import Any

HISTORY = "history.jsonl"


class History:
    """The history of the run in `train_dir`; None for ranks that tell nothing."""

    def __init__(self, train_dir: Path | None) -> None:
        self._path = train_dir / HISTORY if train_dir is not None else None

    def add(self, event: str, step: int | None = None, **facts: Any) -> None:
        """`event` happened now, after `step` updates."""
        if self._path is None:
            return
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now, "event": event, "step": step, **facts}) + "\n")


def read_history(train_dir: Path) -> list[dict[str, Any]]:
    """All events so far, oldest first."""
    return [event for event in read_whole_lines(train_dir / HISTORY) if "event" in event]


def read_whole_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines; a line that a kill has torn is left out. Empty without the file."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]
