"""Texts through an encoder: each alone, laid out as in training, in the order given."""

import numpy as np
import pytest
import torch

from data_prep.tokenizer.special import SpecialTokens
from pipeline.evaluation.encoding import TextEncoder
from pipeline.model.config import ModelConfig
from pipeline.model.pretrained import EncoderModel

CONFIG = ModelConfig(architecture="bert", d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
TEXTS = [np.arange(200, 200 + length, dtype=np.uint16) for length in (5, 1, 9, 3) * 10]


@pytest.fixture(scope="module")
def model() -> EncoderModel:
    return EncoderModel(CONFIG, 300, seed=0).eval()


def encoder(model: EncoderModel, has_ends: bool, max_tokens: int = 9) -> TextEncoder:
    return TextEncoder(model, SpecialTokens(), has_ends, max_tokens)


def test_a_text_stands_between_its_ends_where_the_recipe_puts_them(model: EncoderModel) -> None:
    special = SpecialTokens()
    batch = encoder(model, has_ends=True).batch(TEXTS[:2])
    expected = [special.cls, *range(200, 205), special.sep, special.cls, 200, special.sep]
    assert batch.tokens.tolist() == expected
    assert batch.positions.tolist() == [*range(7), *range(3)]
    assert batch.cu_seqlens.tolist() == [0, 7, 10]
    assert encoder(model, has_ends=False).batch(TEXTS[:2]).tokens.tolist() == [*range(200, 205), 200]


def test_states_are_those_of_the_texts_own_tokens(model: EncoderModel) -> None:
    asked = encoder(model, has_ends=True)
    states = list(asked.states(TEXTS))
    assert [len(state) for state in states] == [len(text) for text in TEXTS]
    alone = model.encode(asked.batch([TEXTS[2]]))
    # Two sizes of one matrix product: float32 sums in another order.
    assert torch.allclose(states[2], alone[1:-1], atol=1e-5)


def test_a_vector_is_the_first_state_or_the_mean_of_all(model: EncoderModel) -> None:
    asked = encoder(model, has_ends=True)
    first, mean = asked.vectors(TEXTS, "first"), asked.vectors(TEXTS, "mean")
    assert first.shape == mean.shape == (len(TEXTS), CONFIG.d_model)
    for n in (0, 1, 33):
        states = model.encode(asked.batch([TEXTS[n]])).detach().numpy()
        assert np.allclose(first[n], states[0], atol=1e-5)
        assert np.allclose(mean[n], states.mean(0), atol=1e-5)


def test_what_is_too_long_loses_its_end_and_nothing_else(model: EncoderModel) -> None:
    short = encoder(model, has_ends=True, max_tokens=4)
    cut = [text[:4] for text in TEXTS]
    assert np.array_equal(short.vectors(TEXTS, "mean"), encoder(model, has_ends=True).vectors(cut, "mean"))
