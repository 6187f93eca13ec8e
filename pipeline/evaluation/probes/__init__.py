"""Probes: one short file per question, found by its name (pipeline/evaluation/config.py); there is no registry.

A file NAME.py here holds `ABOUT`, what it measures in one line, `NEEDS`, what a model must have for it, and
`measure(subject) -> Figures`, which raises InputError for a model that lacks it.
"""

import importlib

from pipeline.evaluation.config import probe_names
from pipeline.evaluation.figures import Figures
from pipeline.evaluation.subject import Subject


def describe_probes() -> list[tuple[str, str, str]]:
    """Name, what it measures, and what it needs, of each probe."""
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in probe_names()}
    return [(name, module.ABOUT, module.NEEDS) for name, module in modules.items()]


def measure(name: str, subject: Subject) -> Figures:
    """What the probe `name` finds; InputError for a model that it does not fit."""
    figures: Figures = importlib.import_module(f"{__name__}.{name}").measure(subject)
    return figures
