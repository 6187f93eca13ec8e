"""BERT's next sentence: the question is asked of [CLS], which sees both segments; half of the answers are no."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from pipeline.batch import IGNORED_LABEL
from pipeline.training.assembly import open_data
from tests.recipes.flow.tracing import objective_of, row_gradients, small_config, untouched_parameters, views_of
from tests.recipes.small import small
from tests.recipes.test_golden import sample

ASKED = "next_sentence"


def test_the_question_is_read_from_both_segments_of_its_pair_and_no_other() -> None:
    config = small_config("bert_nsp")
    objective, view = objective_of(config), views_of(config, sample())["encoder"]
    assert (view.pair_labels != IGNORED_LABEL).tolist() == [True, False, False, False]
    (seen,) = row_gradients(objective, objective.model.embedding, {"encoder": view}, ASKED)
    assert (seen[view.sequence(0)] > 0).all()
    assert not seen[view.sequence(0).stop :].any()


def test_the_answer_is_in_no_row_and_each_term_trains_its_head_and_the_encoder() -> None:
    config = small_config("bert_nsp")
    objective, view = objective_of(config), views_of(config, sample())["encoder"]
    other = dataclasses.replace(view, pair_labels=torch.where(view.pair_labels >= 0, 1 - view.pair_labels, -100))
    one, two = (objective({"encoder": given}) for given in (view, other))
    assert torch.equal(one["masked_lm"][0], two["masked_lm"][0])
    assert not torch.equal(one[ASKED][0], two[ASKED][0])
    views = {"encoder": view}
    assert not untouched_parameters(objective, views)
    assert all(name.startswith("pair.") for name in untouched_parameters(objective, views, "masked_lm"))
    assert all(name.startswith("model.head.") for name in untouched_parameters(objective, views, ASKED))


def test_of_a_real_corpus_half_of_the_second_segments_are_of_another_document(dataset: Path) -> None:
    data = open_data(small("bert_nsp", dataset))
    samples = [data.stream.sample(position) for position in range(200)]
    with_other = [s for s in samples if s.other is not None]
    assert len(with_other) > 190
    for s in with_other:
        same_chunk = s.chunk == s.other.chunk
        assert not same_chunk or not set(s.document_numbers) & set(s.other.document_numbers)
    assert data.stream.sample(7).other.tokens.tolist() == samples[7].other.tokens.tolist()
    labels = data.micro_batches.maker.apply(samples).views["encoder"].pair_labels
    asked = labels[labels != IGNORED_LABEL]
    assert len(asked) > 150
    assert abs(np.mean(asked) - 0.5) < 0.14  # three and a half standard deviations of 150
