"""Training objectives: one short file per family, found by its name; there is no registry.

A file NAME.py here holds `Config`, what an `objective:` section of `kind: NAME` may say, `VIEWS`, the views it reads,
`ARCHITECTURES`, those it can train (pipeline/model/architecture.py), and `Objective`, a module with
- `model`, what is exported; parts beside it are there for training only;
- `counts(views) -> {term: count}`: from the data alone, so that the global counts are known before the first backward;
- `forward(views) -> {term: (sum, count)}`: each term's loss summed over the micro-batch, a float32 scalar;
- `predict(views)`: [T] of the (last) view that carries labels, the model's own best guess where they are.
  and, where a loss compares micro-batches of a step,
- `begin_step(step, world_size, forward)`: called before a step's first forward, with this rank's micro-batches.
It may hold `POOLING`, what of the encoder's states is trained to be the vector of a text ("cls": the first), and
`check(config, run)`, which raises InputError for a corruption or model that it cannot work with.
"""

import difflib
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from data_prep.errors import InputError
from data_prep.section import Section

if TYPE_CHECKING:
    from torch import nn

    from pipeline.config import RunConfig
    from pipeline.model.config import ModelConfig

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_EXAMPLES = {
    "t5": "small",
    "bart": "bart_base",
    "bert": "bert_base",
    "electra": "electra_base",
    "mpnet": "mpnet_base",
    "modernbert": "modernbert_base",
}


def objective_names() -> list[str]:
    """The kinds there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if _NAME.fullmatch(path.stem))


def objective_config(section: Mapping[str, Any]) -> Section:
    """The checked config of an `objective:` section; InputError names the field that is wrong."""
    fields = {key: value for key, value in section.items() if key != "kind"}
    config_class = _module(section.get("kind")).Config
    try:
        return config_class(**fields)
    except ValidationError as error:
        raise InputError("; ".join(_describe(problem, config_class) for problem in error.errors())) from None


def objective_views(section: Mapping[str, Any]) -> tuple[str, ...]:
    """The views that the objective of this section reads."""
    views: tuple[str, ...] = _module(section.get("kind")).VIEWS
    return views


def objective_pooling(section: Mapping[str, Any]) -> str | None:
    """What of the encoder's states the objective of this section trains to be the vector of a text; None: nothing."""
    pooling: str | None = getattr(_module(section.get("kind")), "POOLING", None)
    return pooling


def check_architecture(section: Mapping[str, Any], model_config: "ModelConfig") -> None:
    """InputError when the objective of this section cannot train a model of this architecture."""
    known: tuple[str, ...] = _module(section.get("kind")).ARCHITECTURES
    if model_config.architecture not in known:
        raise InputError(
            f"objective.kind: {section.get('kind')} trains models of architecture {' or '.join(known)}, and "
            f"model.architecture is {model_config.architecture}: take one of those, as in model={_EXAMPLES[known[0]]}"
        )


def check_objective(run: "RunConfig") -> None:
    """InputError when the objective of this run cannot work with the run's other sections."""
    check = getattr(_module(run.objective.get("kind")), "check", None)
    if check is not None:
        check(objective_config(run.objective), run)


def build_objective(
    objective: Mapping[str, Any], model_config: "ModelConfig", vocab_size: int, seed: int
) -> "nn.Module":
    """The objective of an `objective:` section with a new model, initialised for the run with `seed`.

    `vocab_size` is the tokenizer's; the model pads it. Raises InputError for an unknown kind or field.
    """
    config = objective_config(objective)
    return _module(objective.get("kind")).Objective(config, model_config, vocab_size, seed)


def _module(kind: object) -> Any:
    names = objective_names()
    if kind not in names:
        near = difflib.get_close_matches(str(kind), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"objective.kind: there is no objective {kind!r}.{hint} There are: {', '.join(names)}.")
    return importlib.import_module(f"{__name__}.{kind}")


def _describe(problem: Any, config_class: type[Section]) -> str:
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(["kind", *config_class.model_fields])
        return f"objective.{field}: no such field; this objective has: {known}"
    return f"objective.{field}: {problem['msg']} (got {problem['input']!r})"
