"""The user's word that a run may go on with other data (--allow-data-change).

It lies in the run folder and names the checkpoint that it was given for. So a rank hears of it on whatever node and by
whatever launcher it is started, also after a restart; a later checkpoint needs a word of its own.

    RUN/train/data-change-allowed.json   step and time of the checkpoint
"""

import json
from pathlib import Path

from data_prep.shards.files import named_errors, publish, staged_bytes
from pipeline.checkpoint.format import Record

FILE = "data-change-allowed.json"


def allow_data_change(train_dir: Path, record: Record) -> None:
    """Let the run in `train_dir` go on from the checkpoint of `record` with other data."""
    with named_errors(train_dir, "write"):
        train_dir.mkdir(parents=True, exist_ok=True)
    publish([staged_bytes(train_dir / FILE, (json.dumps(_named(record)) + "\n").encode())])


def data_change_allowed(train_dir: Path, record: Record) -> bool:
    """Whether that was said of the checkpoint of `record`."""
    try:
        return bool(json.loads((train_dir / FILE).read_bytes()) == _named(record))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _named(record: Record) -> dict[str, int | str | None]:
    return {"step": record.step, "saved_at": record.saved_at}
