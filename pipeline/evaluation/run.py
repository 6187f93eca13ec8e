"""Probes of a run's checkpoint: opens what they ask, and records what each found as it is done."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.errors import CorruptionError, InputError
from data_prep.shards import Dataset
from pipeline.checkpoint.load import saved_steps, step_folder
from pipeline.checkpoint.store import Folder
from pipeline.checkpoint.weights import CheckpointWeights, hash_weights, newest_and_skipped
from pipeline.config import RunConfig
from pipeline.evaluation.config import EVERY, check_names, probe_names
from pipeline.evaluation.figures import Figures
from pipeline.evaluation.probes import measure
from pipeline.evaluation.results import Place
from pipeline.evaluation.subject import Options, RunParts, Subject
from pipeline.evaluation.texts import Texts
from pipeline.training.assembly import open_data

Found = Iterator[tuple[str, Figures | str]]
"""A probe's name, and its figures, or why it does not fit."""


def evaluate_run(
    config: RunConfig,
    names: Sequence[str],
    step: int | None = None,
    data: Path | None = None,
    options: Options | None = None,
    lenient: bool = False,
) -> tuple[Place, Found]:
    """The probes `names` of the checkpoint of `step` (None: the newest valid one); where the results go, and they.

    `data` is another dataset's folder to take texts from. A probe that does not fit is an error, unless it is `lenient`
    or all were asked for. InputError: nothing trained, a damaged checkpoint, an unknown
    probe, a model that a probe does not fit.
    """
    check_names(names)
    folder, skipped = _checkpoint(config, step)
    weights = CheckpointWeights(folder)
    place = Place.of_run(config.run_dir, weights.record.step, folder.name, hash_weights(weights.items()), skipped)
    opened = open_data(config)
    environment = weights.record.environment
    run = RunParts(config, opened, weights, environment.get("world_size", 1), environment.get("threads"))
    dataset = opened.dataset if data is None else Dataset.open(data)
    texts = Texts(dataset, opened.tokenizer, trained_on=opened.dataset.fingerprint)
    return place, ask(Subject.of_run(run, texts, options or Options()), names, place, lenient)


def ask(subject: Subject, names: Sequence[str], place: Place, lenient: bool = False) -> Found:
    """The figures of each probe, recorded at `place` before the next is asked."""
    every = EVERY in names
    for name in probe_names() if every else dict.fromkeys(names):
        try:
            figures = measure(name, subject)
        except InputError as error:
            if not (every or lenient):
                raise
            yield name, str(error)
            continue
        place.record(name, figures)
        yield name, figures


def _checkpoint(config: RunConfig, step: int | None) -> tuple[Folder, list[str]]:
    """The checkpoint of `step`, or the newest valid one, and what is wrong with newer ones."""
    if step is None:
        return newest_and_skipped(config.checkpoints)
    steps = saved_steps(config.checkpoints)
    if step not in steps:
        have = ", ".join(map(str, sorted(steps))) or "none"
        raise InputError(f"--step {step}: {config.checkpoints} has no checkpoint of this step; it has: {have}")
    folder = step_folder(config.checkpoints, step)
    try:
        CheckpointWeights(folder)
    except CorruptionError as error:
        raise InputError(f"--step {step}: this checkpoint is damaged: {error}") from error
    return folder, []
