import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from data_prep.errors import InputError
from pipeline.batch import Batch, MicroBatch
from pipeline.config import load_run
from pipeline.corruption.config import CorruptionConfig
from pipeline.model.position_config import BipePositions
from pipeline.objectives import build_objective
from pipeline.phases import BatchSizes
from pipeline.training.assembly import open_data
from pipeline.training.config import TrainingConfig
from pipeline.training.loader import MicroBatches, RankPositions, load_steps


@dataclass(frozen=True)
class Numbers:
    """A source whose sample is its position, and a maker that puts them in a view."""

    def sample(self, position: int) -> int:
        return position

    def samples(self, first: int, count: int) -> list[int]:
        return list(range(first, first + count))

    def apply(self, samples: list[int]) -> MicroBatch:
        tokens = np.array(samples)
        view = Batch(tokens, tokens, np.array([0, len(tokens)], np.int32), tokens, tokens)
        return MicroBatch({"encoder": view}, tokens)


def config(micro_batch: int = 2, steps: int = 5) -> TrainingConfig:
    return TrainingConfig(steps=steps, global_batch=12, micro_batch=micro_batch)


@pytest.mark.parametrize(("ranks", "micro_batch"), [(1, 1), (1, 12), (2, 3), (3, 2), (6, 2), (12, 1)])
def test_a_step_reads_the_same_samples_for_any_number_of_ranks(ranks, micro_batch):
    plan = config(micro_batch)
    for step in range(plan.steps):
        firsts = [first for rank in range(ranks) for first in RankPositions(plan, rank, ranks, 0).of_step(step)]
        read = sorted(first + i for first in firsts for i in range(micro_batch))
        assert read == list(range(step * 12, step * 12 + 12))


def test_starting_later_skips_whole_steps():
    everything = list(RankPositions(config(), rank=1, world_size=3, start=0))
    later = RankPositions(config(), rank=1, world_size=3, start=2)
    assert list(later) == everything[2 * 2 :]
    assert len(later) == len(list(later))


def test_micro_batches_arrive_step_by_step():
    batches = MicroBatches(Numbers(), Numbers(), BatchSizes((0,), (12,), (2,)))
    steps = load_steps(batches, RankPositions(config(), 1, 3, start=3), 0, torch.device("cpu"))
    read = [[micro_batch.positions.tolist() for micro_batch in step] for step in steps]
    assert read == [[[38, 39], [44, 45]], [[50, 51], [56, 57]]]


def test_loader_workers_change_nothing(make_run):
    run = load_run(make_run(ranks=2, micro_batch=2, steps=4))
    positions = RankPositions(run.training, rank=1, world_size=2, start=1)
    read = [
        [
            (micro_batch.positions.tolist(), micro_batch.views["encoder"].tokens.tolist())
            for step in load_steps(open_data(run).micro_batches, positions, workers, torch.device("cpu"))
            for micro_batch in step
        ]
        for workers in (0, 2)  # runs of other tests have one
    ]
    assert [firsts for firsts, _ in read[0]] == [[6, 7], [10, 11], [14, 15]]
    assert read[1] == read[0]


def test_masking_where_the_text_arrives_gives_the_same_views_and_losses(make_run):
    run = load_run(make_run(ranks=1, micro_batch=2, steps=3))
    data = open_data(run)
    objective = build_objective(run.objective, run.model, data.tokenizer.vocab_size, run.run.seed)
    read: dict[tuple[str, int], list[MicroBatch]] = {}
    for masking, workers in (("loader", 0), ("device", 1)):
        training = run.training.model_copy(update={"masking": masking})
        steps = load_steps(data.micro_batches, RankPositions(training, 0, 1, 1), workers, torch.device("cpu"))
        read[masking, workers] = [micro_batch for step in steps for micro_batch in step]
    expected = read.pop(("loader", 0))
    assert len(expected) == 4
    for micro_batches in read.values():
        for ours, theirs in zip(micro_batches, expected, strict=True):
            assert ours.positions.tolist() == theirs.positions.tolist()
            assert ours.views.keys() == theirs.views.keys()
            for name, view in theirs.views.items():
                for field in dataclasses.fields(view):
                    here, there = getattr(ours.views[name], field.name), getattr(view, field.name)
                    assert here is there is None or (here.dtype == there.dtype and torch.equal(here, there)), field.name
            losses = [objective(each.views)["denoising"][0].item().hex() for each in (ours, theirs)]
            assert losses[0] == losses[1]


def test_a_column_the_dataset_lacks_is_named_before_anything_is_read(make_run):
    run = load_run(make_run(ranks=2, micro_batch=2, steps=4))
    words = CorruptionConfig.model_validate({"select": {"kind": "whole_words"}})
    with pytest.raises(
        InputError, match=r"no column 'words'; make it with: spanwright prep CONFIG data.columns.words="
    ):
        open_data(run.model_copy(update={"corruption": words}))


def test_positions_by_sentences_need_a_dataset_that_marks_them(make_run):
    run = load_run(make_run(ranks=2, micro_batch=2, steps=4))
    model = run.model.model_copy(update={"decoder_positions": BipePositions()})
    run = run.model_copy(update={"model": model})
    assert run.segmented_views == ("decoder",)
    with pytest.raises(
        InputError, match=r"no column 'sents'; make it with: spanwright prep CONFIG data.columns.sents="
    ):
        open_data(run)
