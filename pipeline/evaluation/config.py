"""What an `evaluation:` section may say, and the names of probes (no torch here: configs load fast)."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from data_prep.errors import InputError
from data_prep.section import Section

FOLDER = "evaluation"
"""Within a run: the results, a file for each step (results.py)."""
EVERY = "all"
"""In place of names: every probe that fits the model."""


def probe_names() -> list[str]:
    """The probes there are."""
    folder = Path(__file__).parent / "probes"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def check_names(names: Sequence[str]) -> None:
    """InputError for a name that no probe has."""
    known = probe_names()
    for name in names:
        if name not in (*known, EVERY):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(f"there is no probe {name!r}.{hint} There are: {', '.join(known)}.")


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        check_names(names)
    except InputError as error:
        raise ValueError(str(error)) from None
    return names


ProbeNames = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_known)]


class EvaluationConfig(Section):
    """The evaluation stage that closes a run."""

    fill_in: int = Field(default=3, ge=0, description="held-out snippets the exported model fills in, shown as text")
    groups: int = Field(
        default=12, ge=0, description="sources and languages, the largest, with a held-out loss; 0: none"
    )
    probes: ProbeNames = ("heldout",)
    """What `spanwright evaluate --list` shows, or `all`; those that do not fit the model are left out."""
    max_new_tokens: int = Field(default=16, gt=0, description="tokens it may write for one snippet")
