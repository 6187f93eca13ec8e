"""Train what the claims compare, measure, print a JSON line for each: `python -m benchmarks.claims --json [NAME ...]`.

1. prepare the corpus in the cache folder (`--cache`)
2. train each run that a claim needs, one after another; what is done is skipped, what was stopped goes on
3. ask the trained models, and compare

At the default size and three seeds training takes about half an hour of one core, and asking a few minutes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import frame
from benchmarks.claims import detection, mae_lm, retrieval, three_ml, ul2
from benchmarks.claims.claim import Claim, outcome
from benchmarks.claims.runs import HERE, Runs, Size

CLAIMS: dict[str, Claim] = {
    claim.name: claim for module in (three_ml, detection, mae_lm, retrieval, ul2) for claim in module.CLAIMS
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    command = parser()
    given = command.parse_args(arguments)
    if strangers := [name for name in given.names if name not in CLAIMS]:
        command.error(f"no claim {strangers[0]!r}: there are {', '.join(CLAIMS)}")
    runs = Runs(given.cache, Size(given.steps, given.windows), given.data)
    claims = [CLAIMS[name] for name in given.names or CLAIMS]
    seeds = range(given.seeds)
    if not given.measure_only:
        with frame.aside():
            train(runs, claims, seeds)
    if given.train_only:
        return
    for claim in claims:
        frame.note(f"{claim.name}: measuring")
        frame.publish(outcome(claim, claim.measure(runs, seeds), runs, seeds), given)


def train(runs: Runs, claims: Sequence[Claim], seeds: Sequence[int]) -> None:
    """Every run that the claims need, first all of the first seed."""
    runs.prepare()
    recipes = dict.fromkeys(recipe for claim in claims for recipe in claim.recipes)
    for seed in seeds:
        for recipe in recipes:
            frame.note(f"{recipe}, seed {seed}")
            runs.train(recipe, seed)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.claims", description=__doc__)
    made.add_argument(
        "names", nargs="*", metavar="NAME", help=f"claims to measure, of {', '.join(CLAIMS)} (default: all)"
    )
    made.add_argument("--cache", type=Path, default=Path("runs/claims"), help="runs and dataset (default: runs/claims)")
    made.add_argument("--steps", type=int, default=400, help="updates of each run (default 400)")
    made.add_argument("--windows", type=int, default=16, help="windows of 126 tokens in an update (default 16)")
    made.add_argument("--seeds", type=int, default=3, help="runs of each recipe (default 3)")
    made.add_argument(
        "--data", type=Path, default=HERE / "corpus.yaml", help="another corpus: a YAML file as in data=FILE"
    )
    only = made.add_mutually_exclusive_group()
    only.add_argument("--train-only", action="store_true", help="stop when everything is trained")
    only.add_argument("--measure-only", action="store_true", help="ask the runs in the cache as they are")
    frame.add_output(made)
    return made


if __name__ == "__main__":
    main()
