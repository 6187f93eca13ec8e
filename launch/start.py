"""What `train` and `run` may be told about where training starts: an older step, another run, changed data."""

from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import InputError
from launch.terminal import detail
from pipeline.checkpoint.format import Record
from pipeline.checkpoint.load import newest_record, saved_steps
from pipeline.checkpoint.origin import checkpoint_of_run, go_back, take_everything, take_weights
from pipeline.checkpoint.permission import allow_data_change, data_change_allowed
from pipeline.config import RunConfig, load_run
from pipeline.training.profile.request import parse_steps, request_profile

HF = "hf:"


@dataclass(frozen=True)
class Start:
    """The options of the command line."""

    origin: str | None = None
    weights_only: bool = False
    init: str | None = None
    allow_data_change: bool = False
    profile: str | None = None

    @property
    def step(self) -> int | None:
        """The step of this run to go back to."""
        return int(self.origin) if self.origin is not None and self.origin.isdecimal() else None

    def check(self) -> None:
        """InputError when an option makes no sense, or options do not go together."""
        if self.profile is not None:
            parse_steps(self.profile)
        if self.weights_only and (self.origin is None or self.step is not None):
            raise InputError("--weights-only takes the weights of another run: give it with --from RUN.")
        if self.init is not None and self.origin is not None:
            raise InputError("--init and --from both say where the weights come from: give one of them.")
        if self.init is not None and not self.init.startswith(HF):
            raise InputError(f"--init {self.init}: give the folder of a Hugging Face checkpoint as {HF}PATH.")

    def allows_data_change(self, config: RunConfig, record: Record) -> bool:
        """Whether other data may follow the checkpoint of `record`: said here, or before."""
        return self.allow_data_change or data_change_allowed(config.train_dir, record)

    def apply(self, config: RunConfig) -> bool:
        """Prepare the run's checkpoints; whether training has to run, even if it was done before."""
        if self.step is not None:
            for name in go_back(config.checkpoints, self.step):
                detail(f"a later checkpoint is set aside as {name}")
        elif self.origin is not None:
            self._take(config, Path(self.origin))
        initialises = self.init is not None and not saved_steps(config.checkpoints)  # a run that has begun goes on
        if initialises:
            self._initialise(config, Path((self.init or "").removeprefix(HF)))
        if self.allow_data_change:
            self._allow(config)
        self._ask_for_profile(config)
        return self.origin is not None or initialises or self.allow_data_change

    def _ask_for_profile(self, config: RunConfig) -> None:
        if self.profile is not None and max(saved_steps(config.checkpoints), default=0) >= config.training.steps:
            raise InputError(
                f"--profile: the run in {config.run_dir} has done all of its {config.training.steps} steps. Profile "
                "with --from STEP, or in a run of its own (run.dir=ANOTHER)."
            )
        request_profile(config.train_dir, None if self.profile is None else parse_steps(self.profile))

    def _allow(self, config: RunConfig) -> None:
        record = newest_record(config.checkpoints)
        if record is None:
            detail(f"--allow-data-change: no checkpoint in {config.checkpoints} yet, so there is nothing to allow")
        else:
            allow_data_change(config.train_dir, record)

    def _initialise(self, config: RunConfig, folder: Path) -> None:
        from pipeline.export.starting import start_from_hf

        found = start_from_hf(config, folder)
        detail(
            f"starting from {folder}: {found.num_copied:,} tokens have a row of their own there, "
            f"{found.num_averaged:,} begin as a mean"
        )

    def _take(self, config: RunConfig, run_dir: Path) -> None:
        source = checkpoint_of_run(run_dir, load_run(run_dir).checkpoints)
        if not self.weights_only:
            take_everything(config.checkpoints, source)
        else:
            from pipeline.training.assembly import open_data

            fingerprints = open_data(config).fingerprints
            take_weights(config.checkpoints, source, config.model_dump(mode="json"), fingerprints)
        detail(f"starting from {source} ({'its weights' if self.weights_only else 'everything'})")
