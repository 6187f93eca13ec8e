"""Finishes by kind. Like a stage's, a finish's module is imported when a config asks for it."""

import importlib
from types import ModuleType

FINISHES = {kind: f"data_prep.finish.{kind}" for kind in ("weight", "select")}  # in the order they are carried out
LISTED_FINISHES = ("select",)  # asked for in `data.stages`; weights are asked for as a column


def finish_module(kind: str) -> ModuleType:
    """The module of a finish; see `data_prep.finish.finish` for what it defines."""
    return importlib.import_module(FINISHES[kind])
