"""Probes: one short file per question, found by its name; there is no registry.

A file NAME.py here holds `ABOUT`, what it measures in one line, `NEEDS`, what a model must have for it, and
`measure(subject) -> Figures`, which raises InputError for a model that lacks it.
"""

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figures
from pipeline.evaluation.subject import Subject

EVERY = "all"
"""In place of names: every probe that fits the model."""


def probe_names() -> list[str]:
    """The probes there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def describe_probes() -> list[tuple[str, str, str]]:
    """Name, what it measures, and what it needs, of each probe."""
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in probe_names()}
    return [(name, module.ABOUT, module.NEEDS) for name, module in modules.items()]


def check_names(names: Sequence[str]) -> None:
    """InputError for a name that no probe has."""
    known = probe_names()
    for name in names:
        if name not in (*known, EVERY):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(f"there is no probe {name!r}.{hint} There are: {', '.join(known)}.")


def measure(name: str, subject: Subject) -> Figures:
    """What the probe `name` finds; InputError for a model that it does not fit."""
    figures: Figures = importlib.import_module(f"{__name__}.{name}").measure(subject)
    return figures
