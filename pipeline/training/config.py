"""What a `training:` section may say. No torch here: configs load fast.

`global_batch` counts samples (windows) per optimizer step and fixes what a step is; `micro_batch`, the number of ranks,
the ZeRO stage and everything else that says *how* the step is computed may change between two starts of one run.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from data_prep.errors import InputError
from data_prep.section import Section
from pipeline.evaluation.config import ProbeNames
from pipeline.training.optimizers.groups import ParameterGroup, ScheduleConfig
from pipeline.training.random_ltd import RandomLtd

PositiveInt = Annotated[int, Field(gt=0)]
NaturalInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


TroubleAction = Literal["stop", "pause", "skip", "rollback"]
"""stop: the run has failed. pause: it saves the state before the step and leaves with exit code 75. skip: the step
makes no update. rollback: it goes on from the last checkpoint, without the samples of the step."""


class SpikeConfig(Section):
    """Whether a loss or gradient norm stands out from those before it (pipeline/training/spikes.py)."""

    action: Literal["ignore", "warn"] | TroubleAction = "warn"
    deviations: PositiveFloat = 8.0
    """How far above the median of the window: in its median absolute deviations, taken as a normal distribution's."""
    window: Annotated[int, Field(ge=8)] = 128
    """So many steps before; until there are as many (from the start, or from a new phase on) nothing is a spike."""
    watch: tuple[Literal["loss", "grad_norm"], ...] = ("loss", "grad_norm")


class TroubleConfig(Section):
    """What is trouble (a loss or gradient that is not finite always is), and what is done about it."""

    action: TroubleAction = "stop"
    """About a step that is not finite or has exploded. It never updates the weights."""
    spikes: SpikeConfig = SpikeConfig()
    loss_factor: Annotated[float, Field(gt=1.0)] | None = None
    """A loss above this many times the median of the last `window` losses has exploded (default: none has)."""
    window: Annotated[int, Field(ge=5)] = 50
    skip_steps: PositiveInt = 1
    """Rollback leaves out the samples of so many steps, the last of which is the one in trouble."""
    max_skipped_steps: PositiveInt = 10
    """A run stops rather than roll back over the samples of more steps than this, or skip more updates."""


class ProbesConfig(Section):
    """Probes within training (pipeline/training/probing.py): `spanwright evaluate --list` names them."""

    probes: ProbeNames = ()
    every: PositiveInt | None = None
    """Every so many steps (default: after the last only)."""


class TrainingConfig(Section):
    """How the model is trained. A step is one optimizer update on `global_batch` samples."""

    steps: PositiveInt
    global_batch: PositiveInt
    micro_batch: PositiveInt
    ranks: PositiveInt = 1
    threads_per_rank: PositiveInt | None = None
    """torch threads of each rank (default: this machine's cores divided by its ranks)."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    precision: Literal["bf16", "fp32"] = "bf16"
    float8: Literal["tensorwise", "rowwise"] | None = None
    """The layers' matrix products with operands of 8 bits, scaled by tensor or by row (pipeline/model/float8.py)."""

    optimizer: Literal["adamw", "rms_adamw", "lion", "muon", "schedule_free"] = "adamw"
    """rms_adamw: rates relative to the size of each matrix. lion: signs of one mean of gradients. muon: the matrices
    of the layers by orthogonalised steps, all else by AdamW. schedule_free: AdamW whose average of the weights is what
    is evaluated and exported. Each has a file in pipeline/training/optimizers."""
    learning_rate: PositiveFloat = 1e-3
    schedule: ScheduleConfig = ScheduleConfig()
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Lion's default is (0.9, 0.99), its paper's."""
    eps: PositiveFloat = 1e-8
    max_grad_norm: Annotated[float, Field(ge=0.0)] = 1.0
    """Gradients are scaled down to this global norm; 0 turns clipping off."""

    groups: dict[str, ParameterGroup] = Field(default_factory=dict)
    """Parameters with a rate of their own, or frozen at first (pipeline/training/optimizers/groups.py)."""
    loss_weights: dict[str, float | tuple[tuple[NaturalInt, float], ...]] = Field(default_factory=dict)
    """The factor of a loss term (default: 1), or points [[step, factor], ...] between which it moves linearly."""

    random_ltd: RandomLtd | None = None
    """Middle layers train on a random share of the tokens that grows by step (pipeline/training/random_ltd.py)."""

    activation_checkpointing: bool = False
    cuda_graphs: bool | None = None
    """Kernels of the layers are recorded once and replayed (pipeline/model/replay.py). Default: on a GPU whose
    kernels compute attention, below ZeRO stage 3."""
    evaluate_every: PositiveInt | None = None
    """Held-out loss every so many steps (default: only before the first step and after the last)."""
    evaluate: ProbesConfig = ProbesConfig()
    """Probes that are asked every so many steps, besides the held-out loss."""
    heldout_samples: NaturalInt = 64
    """How many held-out samples an evaluation reads (0: no evaluation)."""
    log_every: PositiveInt = 10
    """Progress line and TensorBoard scalars every so many steps; metrics.jsonl has every step."""
    show_every: PositiveInt | None = None
    """TensorBoard samples of views and predictions every so many steps (default: whenever held-out loss is taken)."""
    loader_workers: NaturalInt = 1
    """Processes per rank that build batches (0: the training process does)."""
    masking: Literal["loader", "device"] = "loader"
    """Where text is masked: by the loader's processes, or on the device after the raw text has arrived there."""
    stop_after: PositiveFloat | None = None
    """Wall-clock seconds after which the run saves and stops, to be continued by the same command."""
    trouble: TroubleConfig = TroubleConfig()
    """What happens when the loss is not finite, or explodes."""
    peak_tflops: PositiveFloat | None = None
    """Peak rate of one rank for the share-of-peak figure (default: a bf16 matrix product timed at the start)."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_optimizer(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("optimizer") == "lion":
            return {"betas": (0.9, 0.99), **given}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingConfig":
        try:
            accumulation_steps(self.global_batch, self.micro_batch, self.ranks)
        except InputError as error:
            raise ValueError(str(error)) from None
        if self.betas[1] >= 1.0 or self.betas[0] >= 1.0:
            raise ValueError(f"betas must be below 1, not {self.betas[0]} and {self.betas[1]}")
        if self.schedule.warmup_steps is not None and self.schedule.warmup_ratio:
            raise ValueError(
                f"schedule.warmup_steps is {self.schedule.warmup_steps} and schedule.warmup_ratio is "
                f"{self.schedule.warmup_ratio}: give one of them, and take the other back by warmup_steps=null or "
                "warmup_ratio=0"
            )
        if self.cuda_graphs and self.zero_stage == 3:
            raise ValueError(
                "cuda_graphs is true and zero_stage is 3, whose weights are not there between layers: take stage 2 or "
                "less, or cuda_graphs=false"
            )
        if self.float8 is not None:
            self._check_float8()
        if self.random_ltd is not None and self.random_ltd.full_at_step > self.steps:
            raise ValueError(
                f"random_ltd.full_at_step is {self.random_ltd.full_at_step} of a run of {self.steps} steps: the model "
                "would never train on all tokens"
            )
        for name, group in self.groups.items():
            if group.frozen_steps >= self.steps:
                raise ValueError(f"groups.{name}.frozen_steps is {group.frozen_steps} of a run of {self.steps} steps")
            self.of_group(name)
        for term, weight in self.loss_weights.items():
            points = [(0, weight)] if isinstance(weight, float) else weight
            steps = [step for step, _ in points]
            if not points or steps != sorted(set(steps)) or min(factor for _, factor in points) < 0:
                raise ValueError(f"loss_weights.{term}: give a factor of at least 0, or [[step, factor], ...] by step")
        if self.optimizer == "schedule_free":
            self._check_schedule_free()
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"schedule.warmup_steps is {self.warmup_steps} but the run has only steps={self.steps}: "
                "the learning rate would never reach learning_rate"
            )
        return self

    def _check_float8(self) -> None:
        if self.precision != "bf16":
            raise ValueError(
                f"float8 is {self.float8!r} and precision is {self.precision!r}, whose products it does not replace: "
                "precision=bf16, or float8=null"
            )
        if self.zero_stage == 3:
            raise ValueError(
                f"float8 is {self.float8!r} and zero_stage is 3, which gathers weights around products it knows: take "
                "stage 2 or less, or float8=null"
            )

    def _check_schedule_free(self) -> None:
        named = {"schedule": self.schedule} | {
            f"groups.{name}.schedule": group.schedule for name, group in self.groups.items() if group.schedule
        }
        for place, schedule in named.items():
            if schedule.kind != "constant":
                raise ValueError(
                    f"{place}.kind is {schedule.kind!r} and optimizer is 'schedule_free', whose average takes the "
                    f"place of a decay: {place}.kind=constant (warmup_steps as ever)"
                )

    def of_group(self, name: str) -> "TrainingConfig":
        """The same run with the rate and schedule of a group, from the step on at which it is no longer frozen."""
        group = self.groups[name]
        try:
            return TrainingConfig(
                global_batch=1,
                micro_batch=1,
                steps=self.steps - group.frozen_steps,
                learning_rate=group.learning_rate or self.learning_rate,
                schedule=group.schedule or self.schedule,
            )
        except ValidationError as error:
            problem = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"groups.{name}: {problem}") from None

    @property
    def warmup_steps(self) -> int:
        """Length of the warm-up in steps."""
        given = self.schedule.warmup_steps
        return int(self.steps * self.schedule.warmup_ratio) if given is None else given


def accumulation_steps(global_batch: int, micro_batch: int, ranks: int) -> int:
    """Forwards per rank and optimizer step; an InputError that lists what divides when global_batch does not."""
    if global_batch % (micro_batch * ranks) == 0:
        return global_batch // (micro_batch * ranks)
    working_ranks = _divisors(global_batch // micro_batch) if global_batch % micro_batch == 0 else []
    working_micro = _divisors(global_batch // ranks) if global_batch % ranks == 0 else []
    advice = [
        f"with micro_batch={micro_batch} these numbers of ranks work: {_listing(working_ranks)}"
        if working_ranks
        else "",
        f"with ranks={ranks} these values of micro_batch work: {_listing(working_micro)}" if working_micro else "",
        f"numbers of ranks that divide global_batch: {_listing(_divisors(global_batch))}"
        if not working_ranks and not working_micro
        else "",
    ]
    raise InputError(
        f"training.global_batch={global_batch} is not a multiple of micro_batch={micro_batch} x ranks={ranks} = "
        f"{micro_batch * ranks}; " + "; ".join(part for part in advice if part)
    )


def _divisors(number: int) -> list[int]:
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def _listing(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)
