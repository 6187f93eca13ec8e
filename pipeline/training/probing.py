"""Probes within training: every so many steps the weights as they are then are asked, and training goes on unchanged.

Invariant: not a bit of training depends on it. Rank 0 asks a copy of the weights in float32 on its CPU; the random
generators are as before when it is done. The other ranks wait for it where they next meet.
"""

import torch

from pipeline.checkpoint.state import TrainingState
from pipeline.checkpoint.weights import hash_weights
from pipeline.config import RunConfig
from pipeline.training.assembly import Data
from pipeline.training.hooks import Reports
from pipeline.training.loop import StepReport
from pipeline.training.rank import Rank


class Probing:
    """Asks `training.evaluate.probes` every `training.evaluate.every` steps and after the last."""

    def __init__(
        self, config: RunConfig, data: Data, rank: Rank, state: TrainingState, threads: int, reports: Reports | None
    ) -> None:
        self._config, self._data, self._rank, self._state = config, data, rank, state
        self._threads, self._reports = threads, reports
        self._every, self._last = config.training.evaluate.every, config.training.steps

    def __call__(self, report: StepReport) -> None:
        """After a training step. Collective."""
        step = report.progress.step
        if self._config.training.evaluate.probes and (step == self._last or step % (self._every or self._last) == 0):
            # Every rank takes part in reading them; one keeps them.
            weights = {name: value.cpu() for name, value in self._state.masters() if self._reports is not None}
            if self._reports is not None:
                with torch.random.fork_rng(devices=[]):
                    self._ask(step, weights, self._reports)

    def _ask(self, step: int, weights: dict[str, torch.Tensor], reports: Reports) -> None:
        # Here, for they read configs and data as training does.
        from pipeline.evaluation.results import Place
        from pipeline.evaluation.run import ask
        from pipeline.evaluation.subject import Options, RunParts, Subject
        from pipeline.evaluation.texts import Texts

        run = RunParts(self._config, self._data, weights, self._rank.world_size, self._threads)
        texts = Texts(self._data.dataset, self._data.tokenizer, trained_on=self._data.dataset.fingerprint)
        place = Place.of_run(self._config.run_dir, step, None, hash_weights(weights.items()))
        subject, names = Subject.of_run(run, texts, Options()), self._config.training.evaluate.probes
        for name, figures in ask(subject, names, place, lenient=True):
            if isinstance(figures, str):
                reports.line.say(f"step {step}: {figures}")
            else:
                reports.probe(step, name, {metric: figure.value for metric, figure in figures.metrics.items()})
