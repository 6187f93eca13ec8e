"""What a claim is, and what the runs say of it.

A claim compares a recipe with a baseline by one figure. From three seeds on, the differences of the seeds decide, by
their 95 % interval (Student's t). With fewer, the differences of the held-out items (windows, queries) do, by the
bootstrap: that says nothing of other seeds, and the verdict says so. A claim shows when the interval lies on the side
the paper says, or above `-margin`; otherwise it does not show at this size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import frame
from benchmarks.claims.runs import Runs
from pipeline.evaluation.intervals import Interval, bootstrap_interval, student_interval

ENOUGH_SEEDS = 3
Rows = dict[str, dict[str, list[float]]]
"""By recipe and figure: the value of each seed."""
Items = dict[str, list[np.ndarray]]
"""By recipe: of each seed, the deciding figure of every held-out item."""


@dataclass(frozen=True)
class Measured:
    """The figures of the recipes that a claim names, and what else belongs beside them."""

    rows: Rows
    items: Items = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A recipe should do better than its baseline by the figure `by` (or not worse by more than `margin`)."""

    name: str
    recipe: str
    baseline: str
    by: str
    statement: str
    source: str
    measure: Callable[[Runs, Sequence[int]], Measured]
    lower_is_better: bool = False
    margin: float = 0.0
    """How much worse still counts as "as good": 0 where the paper says better."""

    @property
    def recipes(self) -> tuple[str, str]:
        """What must be trained."""
        return self.baseline, self.recipe


def outcome(claim: Claim, measured: Measured, runs: Runs, seeds: Sequence[int]) -> frame.Outcome:
    """The figures with their intervals, the gain, and the verdict."""
    ours, theirs = (measured.rows[recipe][claim.by] for recipe in (claim.recipe, claim.baseline))
    sign = -1.0 if claim.lower_is_better else 1.0
    gain = student_interval([sign * (own - other) for own, other in zip(ours, theirs, strict=True)])
    over_items = _gain_over_items(claim, measured.items, sign)
    ratio = math.fsum(ours) / math.fsum(theirs)
    figures: dict[str, Any] = {
        "claim": claim.statement,
        "source": claim.source,
        "by": claim.by,
        "baseline": claim.baseline,
        "recipe": claim.recipe,
        "verdict": verdict(gain, over_items, len(seeds), claim.margin),
        "gain": gain.as_json(),
        "gain_over_items": over_items and over_items.as_json(),
        "margin": claim.margin,
        "recipes": {
            recipe: {figure: student_interval(values).as_json() for figure, values in row.items()}
            for recipe, row in measured.rows.items()
        },
        "by_seed": measured.rows,
        "seeds": list(seeds),
        "steps": runs.size.steps,
        "tokens": runs.size.tokens,
        **measured.beside,
    }
    ratios = {f"{claim.name}_{claim.by}": 1 / ratio if claim.lower_is_better else ratio}
    return frame.Outcome(f"claims_{claim.name}", figures, ratios, {}, ("torch", "deepspeed"))


def _gain_over_items(claim: Claim, items: Items, sign: float) -> Interval | None:
    """The bootstrap over items of their gains, each the mean over seeds."""
    if not items:
        return None
    ours, theirs = (np.mean(items[recipe], axis=0) for recipe in (claim.recipe, claim.baseline))
    return bootstrap_interval(sign * (ours - theirs))


def verdict(gain: Interval, over_items: Interval | None, num_seeds: int, margin: float = 0.0) -> str:
    """What the intervals of gains say, when losing `margin` would still be as good."""
    enough = num_seeds >= ENOUGH_SEEDS
    deciding = gain if enough else over_items
    caveat = "" if enough else f" ({num_seeds} seed{'s' * (num_seeds > 1)})"
    if deciding is None or deciding.low is None or deciding.high is None:
        return f"nothing can be said{caveat}"
    if deciding.low > -margin:
        return f"shown{caveat}"
    return f"the opposite{caveat}" if deciding.high < -margin else f"not shown at this size{caveat}"


def rows_of(recipes: Sequence[str], seeds: Sequence[int], ask: Callable[[str, int], dict[str, float]]) -> Rows:
    """What `ask` says of each recipe and seed."""
    rows: Rows = {}
    for recipe in recipes:
        answers = [ask(recipe, seed) for seed in seeds]
        rows[recipe] = {figure: [answer[figure] for answer in answers] for figure in answers[0]}
    return rows


def items_of(recipes: Sequence[str], seeds: Sequence[int], ask: Callable[[str, int], np.ndarray]) -> Items:
    """What `ask` says of the held-out items, of each recipe and seed."""
    return {recipe: [ask(recipe, seed) for seed in seeds] for recipe in recipes}
