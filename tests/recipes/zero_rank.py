"""One rank of test_resume.py: trains small recipes, alone without ZeRO, else under ZeRO 2 and 3.

    python zero_rank.py DATASET REPORT RECIPE ...

Rank 0 writes REPORT: for each recipe and stage the losses, and those of a new engine that was given the state half-way.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from pipeline.checkpoint.format import KINDS
from pipeline.checkpoint.state import TrainingState
from pipeline.config import RunConfig
from pipeline.training.assembly import Data, build_engine, open_data
from pipeline.training.engine import Engine
from pipeline.training.loader import RankPositions
from pipeline.training.loop import add_sums, count_globally, global_loss, global_means, weights_of_terms
from pipeline.training.random_ltd import schedule_clock
from pipeline.training.rank import Rank, join_process_group, rank_from_environment, set_threads
from pipeline.training.schedule import step_plan
from tests.recipes.small import small

STAGES = (2, 3)
STEPS, HALF = 4, 2
GLOBAL_BATCH, MICRO_BATCH = 16, 4
# What a name stands for, where it is not a recipe as it is: a group of contrast that one rank reads at a time (as the
# recipe is here, a group is a whole step: four micro-batches); every schedule at once, its changes before and after the
# saved state.
VARIANTS = {
    "cocondenser small groups": ("cocondenser", f"objective.contrast.group={MICRO_BATCH}"),
    "t5_span scheduled": (
        "t5_span",
        "training.groups={encoder: {parameters: ['model.encoder.*'], learning_rate: 1e-3, frozen_steps: 3}}",
        "training.loss_weights={denoising: [[0, 1.0], [4, 0.5]]}",
        "phases=[{at_step: 1, corruption: {select: {noise_density: 0.3}}, training: {global_batch: 24}}, "
        "{at_step: 3, stream: {window: 48}, training: {global_batch: 8, micro_batch: 2}}]",
        "model.num_layers=3",
        "training.random_ltd={start_share: 0.4, full_at_step: 3, share_increment: 0.2}",
    ),
}


def config_of(recipe: str, dataset: Path, ranks: int, stage: int) -> RunConfig:
    """The small recipe in fp32: what differs between ranks and stages is then the order of sums alone."""
    name, *overrides = VARIANTS.get(recipe, (recipe,))
    return small(
        name, dataset, *overrides, f"training.global_batch={GLOBAL_BATCH}", f"training.micro_batch={MICRO_BATCH}",
        f"training.ranks={ranks}", f"training.zero_stage={stage}", "training.precision=fp32",
    )  # fmt: skip


def train(engine: Engine, data: Data, config: RunConfig, first: int, last: int) -> list[float]:
    """The losses of the steps first to last - 1. Collective."""
    rank = engine.rank
    sizes, clock = data.micro_batches.sizes, schedule_clock(config.training.random_ltd, config.model.stacks)
    positions = RankPositions(config.training, rank.index, rank.world_size, start=first, sizes=sizes)
    losses = []
    for step in range(first, last):
        batches = [data.micro_batches[position].to("cpu") for position in positions.of_step(step)]
        counts, *_ = count_globally(engine.counts, batches)
        plan = step_plan(config.training, step, clock)
        weights = weights_of_terms(plan, counts)
        engine.freeze(plan.frozen)
        engine.keep_tokens(plan.kept_share)
        sums = dict.fromkeys(counts, 0.0)
        engine.begin_step([micro_batch.views for micro_batch in batches])
        for number, micro_batch in enumerate(batches, start=1):
            terms = engine.forward(micro_batch.views)
            engine.backward(global_loss(terms, counts, weights), last=number == len(batches))
            add_sums(sums, terms)
        engine.step(plan.learning_rate, plan.group_rates)
        losses.append(sum(global_means(sums, counts).values()))
    return losses


def move_state(source: Engine, target: Engine, num_updates: int) -> None:
    """All that a checkpoint keeps, from one engine to another. Collective."""
    state, other = TrainingState(source), TrainingState(target)
    for name in state.shapes:
        for kind in KINDS:
            other.write(name, kind, state.read(name, kind))
    other.write_buffers(state.read_buffers())
    other.finish_write(num_updates)


def report_on(recipe: str, dataset: Path, rank: Rank, stage: int) -> dict[str, Any]:
    """Losses of one stage, straight and from a state half-way. Collective."""
    config = config_of(recipe, dataset, rank.world_size, stage)
    data = open_data(config)
    engine, again = build_engine(config, data, rank), build_engine(config, data, rank)
    first = dict(TrainingState(engine).masters())
    losses = train(engine, data, config, 0, HALF)
    state = TrainingState(engine)
    unmoved = [name for name, value in state.masters() if torch.equal(value, first[name])]
    untouched = [name for name in unmoved if not state.read(name, "exp_avg").any()]
    move_state(engine, again, HALF)
    losses += train(engine, data, config, HALF, STEPS)
    resumed = train(again, data, config, HALF, STEPS)
    moved_later = [name for name, value in state.masters() if not torch.equal(value, first[name])]
    return {
        "unmoved": unmoved,
        "untouched": untouched,
        "moved_later": moved_later,
        "losses": losses,
        "resumed": [loss.hex() for loss in resumed],
        "straight": [x.hex() for x in losses[HALF:]],
    }


def main(dataset: Path, report: Path, *recipes: str) -> None:
    """Every recipe under every stage."""
    rank = rank_from_environment()
    set_threads(rank, 1)
    join_process_group(rank)
    stages = STAGES if rank.world_size > 1 else (0,)
    reports = {recipe: {str(stage): report_on(recipe, dataset, rank, stage) for stage in stages} for recipe in recipes}
    if rank.is_first:
        report.write_text(json.dumps(reports))
    torch.distributed.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
