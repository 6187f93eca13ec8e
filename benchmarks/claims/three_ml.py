"""3ML is as good as BERT at 78 % of its compute (Liao et al. 2022, abstract: GLUE of RoBERTa base)."""

from collections.abc import Sequence
from functools import partial

from benchmarks.claims.asking import role_accuracies, untrained_role_accuracy
from benchmarks.claims.claim import Claim, Measured, items_of, rows_of
from benchmarks.claims.cloze import cloze
from benchmarks.claims.runs import COMPUTE_SHARE, Runs

RECIPES = ("bert", "3ml")


def measure(runs: Runs, seeds: Sequence[int]) -> Measured:
    """Token roles by a linear probe, masked tokens by a trained one; the FLOPs of both trainings."""

    def ask(recipe: str, seed: int) -> dict[str, float]:
        answer = cloze(runs, recipe, seed)
        roles = float(role_accuracies(runs, recipe, seed).mean())
        return {"role_accuracy": roles, "cloze_accuracy": answer.accuracy, "cloze_loss": answer.loss}

    compute = {}
    for recipe in RECIPES:
        steps = runs.config(recipe, seeds[0]).training.steps
        compute[recipe] = {"steps": steps, "training_flops": steps * runs.step_flops(recipe, seeds[0])}
    return Measured(
        rows_of(RECIPES, seeds, ask),
        items_of(RECIPES, seeds, partial(role_accuracies, runs)),
        {"compute": compute, "compute_share": COMPUTE_SHARE["3ml"], "untrained": untrained_role_accuracy(runs)},
    )


CLAIMS = (
    Claim(
        name="three_ml",
        recipe="3ml",
        baseline="bert",
        by="role_accuracy",
        statement="as good as BERT (here: at most one point worse) with 78 % of its training FLOPs",
        source="Liao et al. 2022 (arXiv:2211.04898), abstract",
        measure=measure,
        margin=0.01,
    ),
)
