"""Stages by kind. A stage's module is imported when a config names it: the others' libraries stay on the disk."""

import importlib
from types import ModuleType

STAGES = {kind: f"data_prep.stages.{kind}" for kind in ("clean", "language", "boilerplate", "decontaminate", "dedup")}


def stage_module(kind: str) -> ModuleType:
    """The module of a stage; see `data_prep.stages.stage` for what it defines."""
    return importlib.import_module(STAGES[kind])


def is_global(module: ModuleType) -> bool:
    """Whether a stage has to see the whole corpus before it can judge a document."""
    return hasattr(module, "REDUCTIONS")
