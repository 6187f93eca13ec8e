"""Real tokens use more of the model's dimensions when no mask enters the encoder (Meng et al. 2024, section 3)."""

from collections.abc import Sequence

import torch

from benchmarks.claims.asking import role_accuracies
from benchmarks.claims.claim import Claim, Measured, rows_of
from benchmarks.claims.runs import Runs
from pipeline.evaluation.states import effective_rank, entropy_rank


def measure(runs: Runs, seeds: Sequence[int]) -> Measured:
    """Ranks of the last layer's states of held-out text without masks, and token roles by a linear probe."""

    def ask(recipe: str, seed: int) -> dict[str, float]:
        encoder = runs.encoder(recipe, seed)
        states_RW = torch.cat(list(encoder.states(runs.heldout.windows)))
        return {
            "effective_rank": float(effective_rank(states_RW)),
            "entropy_rank": entropy_rank(states_RW),
            "role_accuracy": float(role_accuracies(runs, recipe, seed).mean()),
        }

    return Measured(rows_of(("bert", "mae_lm"), seeds, ask))


CLAIMS = (
    Claim(
        name="mae_lm",
        recipe="mae_lm",
        baseline="bert",
        by="effective_rank",
        statement="a higher effective rank of real tokens' states than BERT",
        source="Meng et al. 2024 (arXiv:2302.02060), section 3",
        measure=measure,
    ),
)
