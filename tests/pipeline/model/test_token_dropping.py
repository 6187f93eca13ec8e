"""Random-LTD: which rows a layer keeps, and that a layer on them is the dense layer that hides the others."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.batch import Batch, Views
from pipeline.corruption.philox import random_bits, stream_key
from pipeline.kernels.attention import IntervalPattern
from pipeline.model.attention import Sight
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.token_dropping import kept_rows, token_droppings, view_of_rows
from pipeline.model.transformer import set_activation_checkpointing
from tests.pipeline.conftest import make_random_views, make_view

VOCAB = 192
KEY = stream_key(3, "random_ltd/encoder.dropping")
SIZES: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 4, "num_heads": 4}


def samples(lengths: list[int], first_position: int = 11, tail: int = 3) -> Batch:
    """A view of one sequence for each sample."""
    view = make_view([[7] * length for length in lengths], sum(lengths) + tail)
    positions = torch.repeat_interleave(torch.arange(len(lengths)) + first_position, torch.tensor(lengths))
    rows = torch.cat([torch.arange(length) for length in lengths])
    return dataclasses.replace(
        view,
        sample_positions=torch.nn.functional.pad(positions, (0, tail), value=-1),
        sample_rows=torch.nn.functional.pad(rows, (0, tail)).to(torch.int32),
    )


def test_of_each_sample_the_rows_with_the_smallest_draws_are_kept() -> None:
    lengths, share, layers = [40, 1, 0, 57, 8], 0.3, 6
    found = kept_rows(samples(lengths), share, KEY, layers).tolist()
    for layer in range(layers):
        expected, start = [], 0
        for number, length in enumerate(lengths):
            draws = random_bits(KEY, 11 + number, np.arange(length), layer)
            kept = -(-length * round(share * 2**16) >> 16)  # rounded up
            expected += sorted(start + int(row) for row in np.argsort(draws, kind="stable")[:kept])
            start += length
        assert found[layer] == expected


def test_what_is_kept_of_a_sample_depends_on_nothing_beside_it() -> None:
    together = kept_rows(samples([40, 30, 50]), 0.25, KEY, 3)
    alone = kept_rows(samples([30], first_position=12, tail=0), 0.25, KEY, 3)
    inside = (together >= 40) & (together < 70)
    assert torch.equal(together[inside].view(3, -1) - 40, alone)
    assert not torch.equal(alone[0], alone[1])


def test_every_row_is_as_likely_in_every_layer_and_layers_choose_apart() -> None:
    length, share, rounds, layers = 40, 0.25, 4000, 3
    view = samples([length] * rounds, tail=0)
    kept = torch.zeros(layers, rounds * length).scatter_(1, kept_rows(view, share, KEY, layers), 1.0)
    shares = kept.view(layers, rounds, length).mean(1)
    deviation = (share * (1 - share) / rounds) ** 0.5
    assert (shares - share).abs().max() < 4.5 * deviation  # of 120 shares; one in a thousand such tests would fail
    both = (kept[0] * kept[1]).mean().item()
    assert both == pytest.approx(share**2, abs=4.5 * (share**2 / (rounds * length)) ** 0.5)


def run_dense(
    rows_K: torch.Tensor, block: torch.nn.Module, x_TW: torch.Tensor, view: Batch, sight: Sight, *memory: Any
) -> torch.Tensor:
    """A middle layer as it is specified: all rows run, none sees a dropped one, and those are put back."""
    pattern: IntervalPattern = sight.pattern
    kept_T = torch.zeros(len(x_TW), dtype=torch.bool).index_fill(0, rows_K, True)
    hidden = dataclasses.replace(pattern, key_ranks=torch.where(kept_T, pattern.key_ranks, -1000), shows_all=False)
    out_TW = block(x_TW, view, dataclasses.replace(sight, pattern=hidden), *memory)
    return torch.where(kept_T[:, None], out_TW, x_TW)


def gradients(model: EncoderDecoder, views: Views) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    encoder, decoder = views["encoder"], views["decoder"]
    states_TW = model.decode(decoder, model.encode(encoder), encoder)[: decoder.num_rows]
    weights = torch.linspace(-1.0, 1.0, states_TW.numel()).view_as(states_TW)
    (states_TW * weights).sum().backward()
    return states_TW.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def build(**own: Any) -> EncoderDecoder:
    model = EncoderDecoder(ModelConfig.model_validate(SIZES | own), VOCAB, seed=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "positions" in name and parameter.ndim == 2:  # T5's biases begin at 0
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


def keep(model: torch.nn.Module, share: float) -> None:
    for dropping in token_droppings(model):
        dropping.kept_share = share


@pytest.mark.parametrize("kind", ["t5", "rope", "alibi", "fire", "sinusoidal"])
def test_states_and_gradients_are_those_of_the_dense_layers_that_hide_what_is_dropped(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, views = build(positions={"kind": kind}), make_random_views([40, 0, 1, 90], [12, 0, 2, 30], VOCAB, seed=5)
    keep(model, 0.4)
    states, found = gradients(model, views)
    for stack in (model.encoder, model.decoder):
        monkeypatch.setattr(stack.blocks, "_run_on", run_dense)
    dense_states, expected = gradients(model, views)
    torch.testing.assert_close(states, dense_states, rtol=1e-4, atol=1e-4)  # float32 sums in another order
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        difference = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert difference < 1e-4, name
    keep(model, 1.0)
    assert not torch.equal(gradients(model, views)[0], states)


@pytest.mark.parametrize("kind", ["t5", "rope"])
def test_layers_that_keep_every_row_give_the_bits_of_layers_that_drop_nothing(kind: str) -> None:
    model = build(positions={"kind": kind}, dropout_rate=0.1)
    views = make_random_views([40, 0, 1, 90], [12, 0, 2, 30], VOCAB, seed=6)
    keep(model, 1.0)
    states, expected = gradients(model, views)
    keep(model, 1 - 2**-16)  # rounded up, of so few rows all
    assert all(
        len(rows) == view.num_rows
        for dropping, view in zip(token_droppings(model), views.values(), strict=True)
        for rows in dropping.kept(view)[1:-1]
    )
    again, found = gradients(model, views)
    assert torch.equal(states, again)
    for name, gradient in expected.items():  # a bias by positions adds its gradient up in another order
        exact = "positions" not in name
        assert torch.equal(found[name], gradient) if exact else torch.allclose(found[name], gradient, rtol=1e-4), name


def test_recomputed_layers_drop_what_they_dropped_and_evaluation_drops_nothing() -> None:
    model = build(dropout_rate=0.1)
    views = make_random_views([40, 0, 1, 90], [12, 0, 2, 30], VOCAB, seed=7)
    keep(model, 0.5)
    states, expected = gradients(model, views)
    set_activation_checkpointing(model, True)
    again, found = gradients(model, views)
    assert torch.equal(states, again)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
    model.eval()
    dropping = gradients(model, views)[0]
    keep(model, 1.0)
    assert torch.equal(dropping, gradients(model, views)[0])


def test_kept_rows_are_a_batch_with_their_own_places_and_names() -> None:
    view = samples([5, 0, 4])
    part = view_of_rows(view, torch.tensor([1, 4, 7]))
    assert part.cu_seqlens.tolist() == [0, 2, 2, 3]
    assert part.positions.tolist() == [1, 4, 2]
    assert part.sample_positions.tolist() == [11, 11, 13]
    assert part.num_rows == 3
