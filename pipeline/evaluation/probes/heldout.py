"""The held-out loss: of training's own samples and masks, by term, source and language, and in bits per byte.

`loss` and `loss/TERM` are computed as training computes them (its precision, its micro-batches, its ranks' sums), so
that they have the bits that training printed; groups, bits per byte and samples in float32, a sample at a time.
"""

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import torch

from data_prep.errors import InputError
from pipeline.evaluation.by_group import heldout_by_group
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.subject import RunParts, Subject
from pipeline.model.float8 import use_float8
from pipeline.training.heldout import means_of_ranks

ABOUT = "held-out loss by objective, source and language, and bits per byte"
NEEDS = "a run"


def measure(subject: Subject) -> Figures:
    """See the module."""
    run = subject.run
    if run is None:
        raise InputError("probe heldout: an export has no objective to take a loss of: give the run")
    if run.data.heldout is None:
        raise InputError(f"probe heldout: {run.config.run_dir}: no document was held out (training.heldout_samples)")
    terms = training_terms(run)
    metrics = {"loss": Figure.exact(math.fsum(terms.values()))}
    metrics |= {f"loss/{term}": Figure.exact(value) for term, value in terms.items()}
    found = heldout_by_group(run.objective, run.data, run.config.evaluation.groups)
    everything = found.groups.pop("all", {}).get("all")
    if everything is not None and everything["bits_per_byte"] is not None:
        metrics["bits_per_byte"] = Figure(everything["bits_per_byte"])
    groups = {kind: {name: _figures(own) for name, own in named.items()} for kind, named in found.groups.items()}
    training = run.config.training
    settings = {
        "samples": run.data.heldout.num_samples,
        "labels": everything["labels"] if everything else None,
        "precision": training.precision,
        "ranks": run.world_size,
    }
    if training.float8 is not None:
        settings["float8"] = training.float8
    return Figures(metrics, groups, settings, found.samples)


def training_terms(run: RunParts) -> dict[str, float]:
    """Mean held-out loss by term, with the bits of training's."""
    assert run.data.heldout is not None, "asked before"
    objective = run.objective
    if run.config.training.precision == "bf16":
        objective = copy.deepcopy(objective).bfloat16()
        if run.config.training.float8 is not None:
            use_float8(objective, run.config.training.float8, torch.device("cpu"))
    with _threads(run.threads):
        return means_of_ranks(objective, run.data.heldout, run.world_size)


def _figures(own: dict[str, Any]) -> dict[str, Figure]:
    """Of one group; what is not told is left out."""
    return {name: Figure(float(value)) for name, value in own.items() if value is not None}


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """torch with as many threads as training had: the number of threads changes the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
