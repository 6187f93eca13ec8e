"""The training loop: batch, forward, backward, step, position. Everything else hangs on it as hooks.

Invariant: the loss of a step is exactly "sum over the global batch / count over the global batch", term by term: counts
are summed over ranks and micro-batches before the first backward.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from data_prep.errors import InputError
from pipeline.batch import MicroBatch, Views
from pipeline.training.collective import sum_floats, sum_integers
from pipeline.training.engine import Engine, Terms
from pipeline.training.schedule import StepPlan
from pipeline.training.trouble import StepGuard, Trouble


@dataclass(frozen=True)
class Progress:
    """Where a run stands: `step` updates done, `position` samples and `tokens` rows (of all views) consumed.

    Samples that were skipped count as consumed in `position`.
    """

    step: int = 0
    position: int = 0
    tokens: int = 0

    def after(self, first: int, samples: int, tokens: int) -> "Progress":
        """One update later, on `samples` samples from position `first` on."""
        return Progress(self.step + 1, first + samples, self.tokens + tokens)


@dataclass(frozen=True)
class StepReport:
    """What happened in a step; the same on every rank but for `data_wait_seconds`, `own_seconds` and `micro_batch`."""

    progress: Progress
    loss: float
    terms: dict[str, float]
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    data_wait_seconds: float
    own_seconds: float
    """Of this rank alone, whatever the others do: its data and its forward passes."""
    micro_batch: MicroBatch
    """The last one this rank read."""
    trouble: Trouble | None = None
    """What stood out, where the run goes on all the same."""
    statistics: dict[str, float] = field(default_factory=dict)
    """Of gradients, logits and embeddings (pipeline/training/observing.py), in steps that are logged."""
    kept_share: float | None = None
    """Of the tokens in the middle layers, where the run drops any."""
    gpu_memory_gib: float | None = None
    """The most that this rank's tensors took of its GPU so far."""


Hook = Callable[[StepReport], None]


def train_steps(
    engine: Engine,
    steps: Iterator[list[MicroBatch]],
    progress: Progress,
    first_position: Callable[[int], int],
    plan_of: Callable[[int], StepPlan],
    guard: StepGuard,
    hooks: Sequence[Hook],
    asked_to_stop: Callable[[], bool],
) -> Progress:
    """Train until `steps` ends or any rank is asked to stop; returns where the run stands then. Collective.

    TroubleError where the run does not go on from a step, which then has not been made.
    """
    while True:
        started = time.perf_counter()
        micro_batches = next(steps, None)
        if micro_batches is None:
            return progress
        waited = time.perf_counter() - started

        counts, samples, tokens, stop = count_globally(engine.counts, micro_batches, asked_to_stop())
        if stop:
            return progress

        plan = plan_of(progress.step)
        weights = weights_of_terms(plan, counts)
        engine.freeze(plan.frozen)
        engine.keep_tokens(plan.kept_share)
        engine.observe(plan.observed)
        sums = dict.fromkeys(counts, 0.0)
        engine.begin_step([micro_batch.views for micro_batch in micro_batches])
        for number, micro_batch in enumerate(micro_batches, start=1):
            terms = engine.forward(micro_batch.views)
            engine.backward(global_loss(terms, counts, weights), last=number == len(micro_batches))
            add_sums(sums, terms)
        means = global_means(sums, counts)
        loss = math.fsum(means[term] * weight for term, weight in weights.items())
        first = first_position(progress.step)
        judgement = guard.judge(progress.step, first, first + samples, loss)
        grad_norm = engine.step(plan.learning_rate, plan.group_rates, judgement)
        judgement.settle()
        progress = progress.after(first, samples, tokens)

        report = StepReport(
            progress=progress,
            loss=loss,
            terms=means,
            learning_rate=plan.learning_rate,
            grad_norm=grad_norm,
            tokens=tokens,
            seconds=time.perf_counter() - started,
            data_wait_seconds=waited,
            own_seconds=waited + engine.forward_time.take(),
            micro_batch=micro_batches[-1],
            trouble=judgement.trouble,
            statistics=engine.statistics(),
            kept_share=plan.kept_share,
            gpu_memory_gib=engine.rank.gpu_memory_gib,
        )
        for hook in hooks:
            hook(report)


def count_globally(
    counts_of: Callable[[Views], dict[str, int]], micro_batches: Iterable[MicroBatch], stop: bool = False
) -> tuple[dict[str, int], int, int, bool]:
    """Counts by term, samples and rows of the step over all ranks, and whether any rank wants to stop. Collective."""
    counts: dict[str, int] = {}
    samples = tokens = 0
    for micro_batch in micro_batches:
        samples += len(micro_batch.positions)
        tokens += sum(view.num_rows for view in micro_batch.views.values())
        for term, count in counts_of(micro_batch.views).items():
            counts[term] = counts.get(term, 0) + count
    *totals, samples, tokens, asked = sum_integers([*counts.values(), samples, tokens, int(stop)])
    return dict(zip(counts, totals, strict=True)), samples, tokens, asked > 0


def weights_of_terms(plan: StepPlan, counts: dict[str, int]) -> dict[str, float]:
    """The weight of every term; InputError for one that the objective does not have."""
    for term in plan.loss_weights:
        if term not in counts:
            raise InputError(f"training.loss_weights.{term}: this objective has the terms {', '.join(counts)}")
    return {term: plan.loss_weights.get(term, 1.0) for term in counts}


def global_loss(terms: Terms, counts: dict[str, int], weights: dict[str, float] | None = None) -> Tensor:
    """This micro-batch's part of the global batch's loss (terms that nothing counts for add nothing)."""
    parts = [total * (weights or {}).get(term, 1.0) / max(counts[term], 1) for term, (total, _) in terms.items()]
    return sum(parts[1:], start=parts[0])


def add_sums(sums: dict[str, float], terms: Terms) -> None:
    """Add a micro-batch's sums to this rank's, in float64."""
    for term, (total, _) in terms.items():
        sums[term] += total.item()


def global_means(sums: dict[str, float], counts: dict[str, int]) -> dict[str, float]:
    """Each term's mean over the global batch. Collective."""
    totals = sum_floats(list(sums.values()))
    return {term: total / max(counts[term], 1) for term, total in zip(sums, totals, strict=True)}
