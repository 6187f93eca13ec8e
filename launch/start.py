"""What `train` and `run` may be told about where training starts: an older step, another run, changed data."""

import os
from dataclasses import dataclass
from pathlib import Path

from data_prep.errors import InputError
from launch.terminal import detail
from pipeline.checkpoint.compatible import ALLOW_DATA_CHANGE
from pipeline.checkpoint.origin import checkpoint_of_run, go_back, take_everything, take_weights
from pipeline.config import RunConfig, load_run


@dataclass(frozen=True)
class Start:
    """The options of the command line."""

    origin: str | None = None
    weights_only: bool = False
    allow_data_change: bool = False

    @property
    def step(self) -> int | None:
        """The step of this run to go back to."""
        return int(self.origin) if self.origin is not None and self.origin.isdecimal() else None

    def announce(self) -> None:
        """Hand what ranks must know on to them; InputError when the options do not go together."""
        if self.weights_only and (self.origin is None or self.step is not None):
            raise InputError("--weights-only takes the weights of another run: give it with --from RUN.")
        if self.allow_data_change:
            os.environ[ALLOW_DATA_CHANGE] = "1"  # every rank reads it (pipeline.training.continuing)

    def apply(self, config: RunConfig) -> bool:
        """Prepare the run's checkpoints; whether training has to run, even if it was done before."""
        if self.origin is None:
            return self.allow_data_change
        if self.step is not None:
            for name in go_back(config.checkpoints, self.step):
                detail(f"a later checkpoint is kept as {name}")
        else:
            self._take(config, Path(self.origin))
        return True

    def _take(self, config: RunConfig, run_dir: Path) -> None:
        source = checkpoint_of_run(run_dir, load_run(run_dir).checkpoints)
        if not self.weights_only:
            take_everything(config.checkpoints, source)
        else:
            from pipeline.training.assembly import open_data

            data = open_data(config)
            fingerprints = {
                "dataset_fingerprint": data.dataset.fingerprint,
                "stream_fingerprint": data.stream_fingerprint,
                "tokenizer_digest": data.tokenizer.digest,
            }
            take_weights(config.checkpoints, source, config.model_dump(mode="json"), fingerprints)
        detail(f"starting from {source} ({'its weights' if self.weights_only else 'everything'})")
