"""A phase changes windows, masks or mixture from a step on, as a function of the position alone."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import InputError
from pipeline.batch import IGNORED_LABEL
from pipeline.config import RunConfig, load_config, load_run, save_config
from pipeline.training.assembly import open_data
from pipeline.training.loader import RankPositions
from tests.recipes.small import small

GLOBAL_BATCH = 4
SIZE = (f"training.global_batch={GLOBAL_BATCH}", f"training.micro_batch={GLOBAL_BATCH}")
# EuroBERT's two phases, small: half of the tokens hidden, then a tenth, then in longer windows.
ANNEALED = (
    "phases=[{at_step: 2, corruption: {select: {rate: 0.1}}}, {at_step: 5, stream: {window: 96}}]",
    "corruption.select.rate=0.5",
    *SIZE,
)


@pytest.fixture(scope="module")
def annealed(dataset: Path) -> RunConfig:
    return small("bert", dataset, *ANNEALED)


def test_the_mask_rate_and_then_the_window_change_at_their_steps(annealed: RunConfig) -> None:
    data = open_data(annealed)
    for step in range(8):
        samples = data.micro_batches.samples(step * GLOBAL_BATCH)
        view = data.micro_batches[step * GLOBAL_BATCH].views["encoder"]
        lengths = [length for sample in samples for length in np.diff(sample.piece_offsets).tolist()]
        rate = 0.5 if step < 2 else 0.1
        assert view.num_labels == sum(max(round(length * rate), int(length > 1)) for length in lengths)
        assert max(len(sample.tokens) for sample in samples) <= (96 if step >= 5 else 64)
        assert [sample.position for sample in samples] == list(range(step * GLOBAL_BATCH, (step + 1) * GLOBAL_BATCH))
    assert max(len(data.stream.sample(position).tokens) for position in range(20, 40)) > 64


def test_another_mask_rate_goes_on_in_the_same_text_and_other_windows_begin_anew(
    annealed: RunConfig, dataset: Path
) -> None:
    plain = open_data(small("bert", dataset, *SIZE)).stream
    phased = open_data(annealed).stream
    for position in range(5 * GLOBAL_BATCH):
        assert phased.sample(position).tokens.tolist() == plain.sample(position).tokens.tolist()
    assert phased.sample(5 * GLOBAL_BATCH).epoch == 0
    assert phased.fingerprint != plain.fingerprint


def test_a_sample_is_the_same_wherever_reading_starts(annealed: RunConfig) -> None:
    straight, later = open_data(annealed).micro_batches, open_data(annealed).micro_batches
    for step in (7, 5, 2):
        first, again = (batches[step * GLOBAL_BATCH].views["encoder"] for batches in (straight, later))
        assert np.array_equal(first.tokens, again.tokens)
        assert np.array_equal(first.labels, again.labels)


def test_a_mixture_changes_at_a_step(dataset: Path) -> None:
    only_last = "phases=[{at_step: 3, corruption: {mixture: [{mode: 7, select: {kind: suffix}}]}}]"
    data = open_data(small("ul2", dataset, only_last, *SIZE))
    modes = []
    for step in range(6):
        micro_batch = data.micro_batches[step * GLOBAL_BATCH]
        encoder, decoder = micro_batch.views["encoder"], micro_batch.views["decoder"]
        starts = encoder.cu_seqlens[: encoder.num_sequences]
        modes.append({int(token) - data.tokenizer.special.first_spare for token in encoder.tokens[starts]})
        assert (decoder.labels != IGNORED_LABEL).any()
    assert set().union(*modes[:3]) <= {0, 1, 2}
    assert modes[3:] == [{7}] * 3


def test_batches_grow_at_their_steps_and_each_sample_is_still_read_once(dataset: Path) -> None:
    growing = (
        "phases=[{at_step: 2, training: {global_batch: 8}}, "
        "{at_step: 4, stream: {window: 32}, training: {global_batch: 24, micro_batch: 12}}]"
    )
    config = small("bert", dataset, growing, *SIZE)
    data = open_data(config)
    assert str(config.batch_sizes) == "4, then 8, then 24"
    read = {}
    for ranks in (1, 2):
        positions = [RankPositions(config.training, rank, ranks, 0, sizes=config.batch_sizes) for rank in range(ranks)]
        read[ranks] = [
            sorted(
                position
                for own in positions
                for first in own.of_step(step)
                for position in data.micro_batches[first].positions.tolist()
            )
            for step in range(6)
        ]
    assert read[1] == read[2]
    assert [len(step) for step in read[1]] == [4, 4, 8, 8, 24, 24]
    assert [position for step in read[1] for position in step] == list(range(72))
    assert max(len(data.stream.sample(position).tokens) for position in range(24, 72)) <= 32
    assert data.stream.sample(24).epoch == 0


def test_a_mixture_drawn_for_each_step_is_drawn_once_whatever_the_batch(dataset: Path) -> None:
    growing = "phases=[{at_step: 3, training: {global_batch: 12}}]"
    config = small("ul2", dataset, growing, "corruption.mixture_per=step", *SIZE)
    data, drawn = open_data(config), []
    for step in range(40):
        encoders = [
            data.micro_batches[first].views["encoder"]
            for first in RankPositions(config.training, 0, 1, 0, sizes=config.batch_sizes).of_step(step)
        ]
        modes = {int(token) for view in encoders for token in view.tokens[view.cu_seqlens[: view.num_sequences]]}
        assert len(modes) == 1
        drawn.append(modes.pop())
    assert len(set(drawn[3:])) > 1


def test_held_out_samples_stay_those_of_the_start(annealed: RunConfig, dataset: Path) -> None:
    plain = open_data(small("bert", dataset, "corruption.select.rate=0.5", *SIZE)).heldout
    phased = open_data(annealed).heldout
    assert plain is not None
    assert phased is not None
    views = [heldout.micro_batch_at(0).views["encoder"] for heldout in (plain, phased)]
    assert np.array_equal(views[0].tokens, views[1].tokens)


def test_a_run_folder_keeps_its_phases(annealed: RunConfig, tmp_path: Path) -> None:
    config = annealed.model_copy(update={"run": annealed.run.model_copy(update={"dir": str(tmp_path)})})
    save_config(config)
    assert load_run(tmp_path).in_phases()[2][1].stream.window == 96


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ("[{at_step: 5}, {at_step: 5}]", "phases.1.at_step: 5 must come after step 5"),
        ("[{at_step: 60}]", "before training.steps"),
        (
            "[{at_step: 5, corruption: {select: {rate: 2}}}]",
            "phases.0.corruption.select.rate: from step 5 on: Input",
        ),
        (
            "[{at_step: 5, corruption: {select: {rat: 2}}}]",
            "phases.0.corruption.select.rat: from step 5 on: no such key. Did you mean 'rate'?",
        ),
        ("[{at_step: 5, stream: {window: 1}}]", "phases.0: from step 5 on: stream.window: 1 token"),
        (
            "[{at_step: 5, training: {global_batch: 3}}]",
            "phases.0.training: from step 5 on: training.global_batch=3 is not a",
        ),
        ("[{at_step: 5, training: {learning_rate: 3}}]", "phases.0.training.learning_rate"),
        (
            "[{at_step: 5, corruption: {layout: {kind: visible_only}}}]",
            "from step 5 on the corruption gives encoder and decoder, before encoder: the views must stay",
        ),
    ],
)
def test_phases_that_cannot_work_are_refused_with_their_step(phases: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(
            "bert", ["data.paths=[corpus]", "training.steps=60", f"phases={phases}", "training.schedule.warmup_steps=1"]
        )
