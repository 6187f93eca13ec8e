"""Texts through an encoder: each alone, laid out as in training, in the order given."""

import numpy as np
import pytest
import torch

from data_prep.tokenizer.special import SpecialTokens
from pipeline.evaluation.encoding import TextEncoder
from pipeline.evaluation.habits import Habits
from pipeline.evaluation.model import TrainedModel, flat_batch
from pipeline.model.config import ModelConfig
from pipeline.model.pretrained import EncoderModel

CONFIG = ModelConfig(architecture="bert", d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
TEXTS = [np.arange(200, 200 + length, dtype=np.uint16) for length in (5, 1, 9, 3) * 10]


@pytest.fixture(scope="module")
def model() -> EncoderModel:
    return EncoderModel(CONFIG, 300, seed=0).eval()


def encoder(model: EncoderModel, has_ends: bool, max_tokens: int = 9) -> TextEncoder:
    special = SpecialTokens()
    head, tail = ((special.cls,), (special.sep,)) if has_ends else ((), ())
    habits = Habits(special, head, tail, None, "", "mean", max_tokens)
    return TextEncoder(TrainedModel(model, 300), habits)


def test_a_text_stands_between_its_ends_where_the_recipe_puts_them(model: EncoderModel) -> None:
    special = SpecialTokens()
    around = encoder(model, has_ends=True).habits.around
    assert around(TEXTS[0]) == [special.cls, *range(200, 205), special.sep]
    assert encoder(model, has_ends=False).habits.around(TEXTS[0]) == [*range(200, 205)]
    batch = flat_batch([around(text) for text in TEXTS[:2]])
    assert batch.tokens.tolist() == [*around(TEXTS[0]), special.cls, 200, special.sep]
    assert batch.positions.tolist() == [*range(7), *range(3)]
    assert batch.cu_seqlens.tolist() == [0, 7, 10]


def test_states_are_those_of_the_texts_own_tokens(model: EncoderModel) -> None:
    asked = encoder(model, has_ends=True)
    states = list(asked.states(TEXTS))
    assert [len(state) for state in states] == [len(text) for text in TEXTS]
    alone = model.encode(flat_batch([asked.habits.around(TEXTS[2])]))
    # Two sizes of one matrix product: float32 sums in another order.
    assert torch.allclose(states[2], alone[1:-1], atol=1e-5)


def test_a_vector_is_the_first_state_or_the_mean_of_all(model: EncoderModel) -> None:
    asked = encoder(model, has_ends=True)
    first, mean = asked.vectors(TEXTS, "first"), asked.vectors(TEXTS, "mean")
    assert first.shape == mean.shape == (len(TEXTS), CONFIG.d_model)
    for n in (0, 1, 33):
        states = model.encode(flat_batch([asked.habits.around(TEXTS[n])])).detach().numpy()
        assert np.allclose(first[n], states[0], atol=1e-5)
        assert np.allclose(mean[n], states.mean(0), atol=1e-5)


def test_what_is_too_long_loses_its_end_and_nothing_else(model: EncoderModel) -> None:
    short = encoder(model, has_ends=True, max_tokens=4)
    cut = [text[:4] for text in TEXTS]
    assert np.array_equal(short.vectors(TEXTS, "mean"), encoder(model, has_ends=True).vectors(cut, "mean"))
