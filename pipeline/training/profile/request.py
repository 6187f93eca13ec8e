"""What `spanwright train --profile STEPS` asks of the ranks, left in the run folder for them, wherever they start.

RUN/train/profile.json   {"first": 100, "num_steps": 5}; without a first step: after the first three of this start
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

from data_prep.errors import InputError
from data_prep.shards.files import named_errors, publish, staged_bytes

FILE = "profile.json"


class WantedSteps(NamedTuple):
    """`num_steps` to profile, from the update number `first` on (from 1; None: as soon as training is warm)."""

    first: int | None
    num_steps: int


def parse_steps(text: str) -> WantedSteps:
    """`5` (so many steps), or `100-104` (these); InputError for anything else."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)", text)
    first, last = (int(part) if part else None for part in found.groups()) if found else (None, 0)
    count = (last or 0) if first is None else (last or 0) - first + 1
    if count < 1 or first == 0:
        raise InputError(f"--profile {text}: give a number of steps, as 5, or which, as 100-104.")
    return WantedSteps(first, count)


def request_profile(train_dir: Path, wanted: WantedSteps | None) -> None:
    """Let the next start of the run in `train_dir` profile these steps, or none."""
    if wanted is None:
        (train_dir / FILE).unlink(missing_ok=True)
        return
    with named_errors(train_dir, "write"):
        train_dir.mkdir(parents=True, exist_ok=True)
    publish([staged_bytes(train_dir / FILE, (json.dumps(wanted._asdict()) + "\n").encode())])


def requested_profile(train_dir: Path) -> WantedSteps | None:
    """What was asked for; None if nothing was."""
    try:
        return WantedSteps(**json.loads((train_dir / FILE).read_bytes()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None
