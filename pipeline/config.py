"""The typed config of a run: YAML -> RunConfig, with errors that say where and what to do.

Each section's model lives beside its user; this file only puts them together.

1. find and merge the files and overrides (config_files)
2. validate into frozen models; every mistake is one line with its place
3. resolve what depends on the working directory (absolute paths)
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from data_prep.config import DataConfig, TokenizerConfig
from data_prep.errors import InputError
from data_prep.section import Section
from data_prep.shards.files import named_errors, publish, staged_bytes
from data_prep.tokenizer.special import NUM_SENTINELS
from pipeline.checkpoint.config import CheckpointConfig
from pipeline.config_files import COMMAND_LINE, RUN_CONFIG_NAME, dump_yaml, find_config, load_tree
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.layout import DECODER, ENCODER
from pipeline.corruption.reorder import SENTENCES
from pipeline.evaluation.config import EvaluationConfig
from pipeline.export.config import ExportConfig
from pipeline.model.config import ModelConfig, middle_layers
from pipeline.model.stock import stock_refusal
from pipeline.objectives import (
    check_architecture,
    check_objective,
    objective_config,
    objective_pooling,
    objective_views,
)
from pipeline.phases import BatchSizes, Phase, later_sections
from pipeline.stream import StreamConfig
from pipeline.token_columns import WantedColumn
from pipeline.training.config import TrainingConfig, accumulation_steps
from pipeline.training.random_ltd import schedule_clock
from pipeline.validation import mistakes, validate_tree

_CHANGED_BY_PHASES = ("stream", "corruption", "training")


class RecipeFacts(Section):
    """What a recipe says about itself; `spanwright recipes` and the recipe table show it."""

    name: str
    family: str
    source: str
    summary: str
    export: str
    variants: tuple[str, ...] = ()
    columns: dict[str, Any] = Field(default_factory=dict)
    """The columns it reads: those that the `data:` section says nothing about are made as it says here."""


class RunSection(Section):
    """Where a run lives, and the one seed everything it draws comes from."""

    dir: str | None = None
    seed: int = Field(default=0, ge=0)


class RunConfig(Section):
    """Everything that decides a run."""

    recipe: RecipeFacts
    data: DataConfig
    model: ModelConfig
    corruption: CorruptionConfig
    objective: dict[str, Any]
    """`kind` names a module of pipeline.objectives; the rest is that module's `Config`."""
    training: TrainingConfig
    stream: StreamConfig = StreamConfig()
    phases: tuple[Phase, ...] = ()
    """From a step on another `stream:`, `corruption:` or batch (pipeline/phases.py)."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    run: RunSection = RunSection()
    deepspeed: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _data_gets_the_columns_of_the_recipe(cls, values: Any) -> Any:
        """So that `data=my.yaml` need not know which recipe will read it."""
        wanted = _section(_section(values, "recipe"), "columns")
        data = _section(values, "data")
        if not wanted or not data:
            return values
        return {**values, "data": {**data, "columns": {**wanted, **_section(data, "columns")}}}

    @field_validator("objective")
    @classmethod
    def _objective_of_its_kind(cls, section: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"kind": section.get("kind"), **objective_config(section).model_dump(mode="json")}
        except InputError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _corruption_fits_the_window(self) -> "RunConfig":
        try:
            stream, segmented = self.stream, bool(self.segmented_views)
            self.corruption.check(stream.window, stream.max_sequences, NUM_SENTINELS, segmented)
        except InputError as error:
            raise ValueError(str(error)) from None
        what = self.corruption.loader_only(segmented)
        if what is not None and self.training.masking == "device":
            raise ValueError(f"training.masking is device, and {what} made in the loader only: use loader")
        return self

    @model_validator(mode="after")
    def _objective_gets_its_views_and_its_model(self) -> "RunConfig":
        missing = [view for view in objective_views(self.objective) if view not in self.corruption.views]
        if missing:
            where = "mixture: it" if self.corruption.mixture else f"layout: {self.corruption.layout.kind}"
            raise ValueError(
                f"corruption.{where} gives no {missing[0]} view, which objective "
                f"{self.objective['kind']} trains on: choose another layout (sentinel_targets, full_reconstruction) or "
                "another objective"
            )
        try:
            check_architecture(self.objective, self.model)
            check_objective(self)
        except InputError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _exports_have_a_place_for_the_model(self) -> "RunConfig":
        stock = [target for target in self.export.to if target != "native"]
        what = stock_refusal(self.model) if stock else None
        if what:
            raise ValueError(
                f"export.to is {stock[0]}, and transformers' {self.model.layers.title} has no {what}: set "
                "export.to=[native] (our own layout), export.to=[] (checkpoints keep the weights) or change the model"
            )
        if self.export.encoder_layers and self.export.encoder_layers > self.model.num_layers:
            raise ValueError(
                f"export.encoder_layers ({self.export.encoder_layers}) is more than model.num_layers "
                f"({self.model.num_layers})"
            )
        if "sentence-transformers" in self.export.to and self.pooling is None:
            raise ValueError(
                f"export.to is sentence-transformers, and objective {self.objective['kind']} trains no vector of a "
                "text: export encoder instead, or say what to take with export.pooling=mean (or cls)"
            )
        return self

    @model_validator(mode="after")
    def _tokens_can_be_dropped(self) -> "RunConfig":
        ltd, stacks = self.training.random_ltd, self.model.stacks
        if ltd is None:
            return self
        if not any(middle_layers(num_layers) for num_layers in stacks):
            raise ValueError(
                f"training.random_ltd drops tokens in all layers but the first and the last, and the model has "
                f"{' and '.join(map(str, stacks))}: leave it out, or give the model more layers"
            )
        end = schedule_clock(ltd, stacks)(self.training.steps)
        if self.training.warmup_steps >= end:
            raise ValueError(
                f"training.schedule.warmup_steps is {self.training.warmup_steps}, and with training.random_ltd the "
                f"layers see the tokens of {end:g} whole steps, by which rates move on: shorten the warm-up, or let "
                "rates count steps with random_ltd.layer_token_schedule=false"
            )
        return self

    @model_validator(mode="after")
    def _phases_can_work(self) -> "RunConfig":
        self.in_phases()
        return self

    def in_phases(self) -> list[tuple[int, "RunConfig"]]:
        """The step each phase begins with, and the config as it is then; the first is (0, this without phases)."""
        base = self.model_copy(update={"phases": ()})
        found = [(0, base)]
        for number, phase in enumerate(self.phases):
            start, before = found[-1]
            if not start < phase.at_step < self.training.steps:
                raise ValueError(
                    f"phases.{number}.at_step: {phase.at_step} must come after step {start} and before training.steps "
                    f"({self.training.steps})"
                )
            changing = {name: getattr(before, name).model_dump(mode="json") for name in _CHANGED_BY_PHASES}
            sections = later_sections(changing, phase)
            try:
                found.append((phase.at_step, RunConfig.model_validate({**base.model_dump(mode="json"), **sections})))
            except ValidationError as error:
                path, problem = next(mistakes(error, sections, RunConfig))
                key = ".".join(["phases", str(number), *path])
                raise ValueError(f"{key}: from step {phase.at_step} on: {problem}") from None
            views = found[-1][1].corruption.views
            if views != base.corruption.views:
                raise ValueError(
                    f"phases.{number}: from step {phase.at_step} on the corruption gives {' and '.join(views)}, before "
                    f"{' and '.join(base.corruption.views)}: the views must stay"
                )
        return found

    @property
    def batch_sizes(self) -> BatchSizes:
        """How many samples a step and a forward read, by phase."""
        phases, starts = self.in_phases(), [0]
        for (step, phase), (later, _) in itertools.pairwise(phases):
            starts.append(starts[-1] + (later - step) * phase.training.global_batch)
        return BatchSizes(
            tuple(starts),
            tuple(phase.training.global_batch for _, phase in phases),
            tuple(phase.training.micro_batch for _, phase in phases),
        )

    def check_ranks(self, ranks: int) -> None:
        """InputError that says what works unless so many ranks can share the batch of every phase."""
        for _, phase in self.in_phases():
            accumulation_steps(phase.training.global_batch, phase.training.micro_batch, ranks)

    @property
    def segmented_views(self) -> tuple[str, ...]:
        """The views whose stack's positions have two levels, sentences and places in them (BiPE)."""
        schemes = {ENCODER: self.model.positions, DECODER: self.model.decoder_position_config}
        return tuple(
            view for view, scheme in schemes.items() if scheme.kind == "bipe" and view in self.corruption.views
        )

    @property
    def pooling(self) -> str | None:
        """What makes one vector of a text's states; None where the recipe trains none and the config names none."""
        return self.export.pooling or objective_pooling(self.objective)

    @property
    def columns(self) -> tuple[WantedColumn, ...]:
        """The columns of the dataset that a run reads, each once."""
        sentences = [WantedColumn(SENTENCES)] if self.segmented_views else []
        return tuple(dict.fromkeys([*self.corruption.columns, *sentences]))

    @property
    def run_dir(self) -> Path:
        """The run folder: `run.dir`, or `runs/<recipe>` below the working directory."""
        return Path(self.run.dir) if self.run.dir else Path("runs") / self.recipe.name

    @property
    def data_dir(self) -> Path:
        """The dataset's folder: `data.dir`, or `data` in the run folder."""
        return Path(self.data.dir) if self.data.dir else self.run_dir / "data"

    @property
    def train_dir(self) -> Path:
        """Metrics, checkpoints and logs of training."""
        return self.run_dir / "train"

    @property
    def checkpoints(self) -> str:
        """Where checkpoints lie, a path or a URL: `checkpoint.dir`, or below `train_dir`."""
        return self.checkpoint.dir or str(self.train_dir / "checkpoints")

    @property
    def export_dir(self) -> Path:
        """The exported models."""
        return self.run_dir / "export"


def _section(values: Any, key: str) -> Mapping[str, Any]:
    """The section `key` of a config that is not checked yet; empty where there is none."""
    found = values.get(key) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def load_config(name: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The config named on the command line (YAML path, run folder or recipe) with `a.b=c` overrides.

    Relative paths are taken from the working directory and come back absolute, so that a run can be continued from
    anywhere. A run folder is where it is now, whatever its config says, unless an override does. Raises InputError
    naming file, line, field and fix.
    """
    path = find_config(name)
    tree = load_tree(path, overrides)
    if "paths" in tree.values:
        raise InputError(
            f"{path} is a `data:` section. Give it to a recipe, as in: spanwright prep t5_span data={name}"
        )
    if not tree.values.keys() & {"recipe", "corruption", "objective"}:
        raise InputError(
            f"{path}: it has no recipe: begin it with `extends: t5_span`, or another (`spanwright recipes`)."
        )
    config = validate_tree(tree, RunConfig)
    is_folder = path == Path(name).expanduser() / RUN_CONFIG_NAME
    is_told = tree.place(("run", "dir")).startswith(COMMAND_LINE)
    return config.model_copy(
        update={
            "run": config.run.model_copy(
                update={"dir": _absolute(name if is_folder and not is_told else str(config.run_dir))}
            ),
            "data": config.data.model_copy(
                update={
                    "paths": tuple(_absolute(path) for path in config.data.paths),
                    "dir": _absolute(config.data.dir) if config.data.dir else None,
                    "tokenizer": _with_absolute_path(config.data.tokenizer),
                }
            ),
            "corruption": config.corruption.with_paths(_absolute),
            "checkpoint": _with_absolute_dir(config.checkpoint),
        }
    )


def load_run(run_dir: Path) -> RunConfig:
    """The resolved config of an existing run folder."""
    path = Path(run_dir) / RUN_CONFIG_NAME
    if not path.is_file():
        raise InputError(f"{run_dir}: not a run folder: it has no {RUN_CONFIG_NAME}.")
    config = validate_tree(load_tree(path), RunConfig)
    # The folder may have been moved since: it is where it is now.
    return config.model_copy(update={"run": config.run.model_copy(update={"dir": str(Path(run_dir).resolve())})})


def save_config(config: RunConfig) -> Path:
    """Write the resolved config into the run folder (temporary name, flush, rename); returns its path."""
    path = config.run_dir / RUN_CONFIG_NAME
    comment = "# The resolved config of this run: `spanwright run` on this folder continues it.\n"
    text = comment + dump_yaml(config.model_dump(mode="json", exclude_none=True))
    with named_errors(path.parent, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
    publish([staged_bytes(path, text.encode())])
    return path


def fingerprint(*parts: Any) -> str:
    """SHA-256 over the canonical JSON of config models or plain data."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _with_absolute_path(tokenizer: TokenizerConfig) -> TokenizerConfig:
    return tokenizer.model_copy(update={"path": _absolute(tokenizer.path)}) if tokenizer.path else tokenizer


def _with_absolute_dir(checkpoint: CheckpointConfig) -> CheckpointConfig:
    return checkpoint.model_copy(update={"dir": _absolute(checkpoint.dir)}) if checkpoint.dir else checkpoint


def _absolute(path: str) -> str:
    return path if path.startswith("python:") or "://" in path else str(Path(path).expanduser().absolute())
