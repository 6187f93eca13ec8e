"""What ways to do less work per token cost and bring: Random-LTD, and 3ML beside BERT.

Part `cost`: FLOPs and CPU time of a step (forward and backward, bfloat16), in turn, of
- BERT and 3ML with 12 layers of one size, on the same windows (the paper: parity at 78 % of the compute);
- T5 whose middle layers keep all, a half and a quarter of the tokens.

Part `loss`: T5's span corruption trained by three plans from the same seeds,
- `whole`       everything, for all steps
- `random_ltd`  middle layers begin with a share and have everything in the last third; as many steps
- `shorter`     everything, for fewer steps: as many FLOPs as `random_ltd`
What Random-LTD saves at equal loss is explained in plans.py. The paper saves 33.3 % of the compute and 25.6 % of the
time (GPT-3 1.3B).

Part `warm_up`: the same training, beside it two others that read as many tokens,
- `short_at_first`  windows of a third for a quarter of the steps, and of a half for another; as many tokens a step
- `few_at_first`    a quarter of the windows a step for an eighth of the tokens, a half for another; so half as many
                    steps again
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import frame, small_runs
from benchmarks.less_work import cost, plans

PAPER = {"three_ml_compute": 0.78, "random_ltd_compute_saved": 0.333, "random_ltd_time_saved": 0.256}
PARTS = ("cost", "loss", "warm_up")


def measure(given: argparse.Namespace) -> frame.Outcome:
    """The parts that were asked for."""
    torch.set_num_threads(given.threads)
    figures: dict[str, Any] = {"paper": PAPER}
    ratios: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory(prefix="less-work-") as name:
        folder = Path(name)
        small_runs.write_corpus(folder, given.megabytes)
        if "cost" in given.parts:
            figures["cost"] = cost.measure(folder, given)
            ratios |= cost.ratios(figures["cost"])
        if "loss" in given.parts:
            found = figures["loss"] = plans.random_ltd(folder, given)
            ratios["compute_saved"] = found["compute_saved"]
            for ratio in ("time_saved", "compute_saved_at_equal_loss", "time_saved_at_equal_loss"):
                ratios[ratio] = found[ratio]["mean"]
        if "warm_up" in given.parts:
            figures["warm_up"] = plans.warm_up(folder, given)
    return frame.Outcome("less_work", figures, ratios, {}, ("torch",))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.less_work", description=__doc__)
    made.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    made.add_argument("--rounds", type=int, default=7, help="of part cost (default 7)")
    made.add_argument("--window", type=int, default=510, help="tokens of a window of part cost (default 510)")
    made.add_argument("--batch", type=int, default=4, help="windows of a step of part cost (default 4)")
    made.add_argument("--steps", type=int, default=400, help="updates of a run on everything (default 400)")
    made.add_argument("--windows", type=int, default=8, help="windows of 126 tokens in an update (default 8)")
    made.add_argument("--layers", type=int, default=6, help="of encoder and decoder each (default 6)")
    made.add_argument("--width", type=int, default=96, help="of the model (default 96)")
    made.add_argument("--seeds", type=int, default=3, help="runs of each plan (default 3)")
    made.add_argument("--megabytes", type=float, default=4.0, help="of code (default 4)")
    made.add_argument("--threads", type=int, default=1, help="default 1")
    return made


if __name__ == "__main__":
    frame.main(parser(), measure)
