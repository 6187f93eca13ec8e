"""Recorded kernels: what a call is taken for; and on a GPU, the same bits as without, whatever comes between."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.batch import Batch, Views
from pipeline.kernels.attention import IntervalPattern, RelativeBias
from pipeline.model.attention import Sight
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.replay import OF_CALLS, Replayed, put_together, take_apart
from pipeline.model.token_dropping import token_droppings
from pipeline.model.transformer import set_activation_checkpointing, set_cuda_graphs
from tests.pipeline.conftest import make_random_views, make_view
from tests.pipeline.kernels.gpu import needs_gpu

VOCAB = 192
SIZES: dict[str, Any] = {"d_model": 64, "d_kv": 32, "d_ff": 96, "num_layers": 4, "num_heads": 2, "dropout_rate": 0.1}
LENGTHS = ([90, 0, 1, 140], [14, 0, 2, 30])


def call_on(view: Batch, bias: RelativeBias | None = None) -> tuple[Any, ...]:
    """What layers are called with for this view, but for their inputs."""
    pattern = IntervalPattern.full(view.cu_seqlens, len(view.tokens), view.cu_seqlens, len(view.tokens))
    return view, [Sight(view.cu_seqlens, pattern, bias), None], 0.5, (None, "text")


def test_what_is_taken_apart_is_put_together_again_with_other_tensors() -> None:
    given = call_on(make_view([[1, 2, 3], [4]], 6), RelativeBias(torch.randn(2, 5)))
    tensors, form = take_apart(given)
    assert len({id(tensor) for tensor in tensors}) == len(tensors)
    view, sights, *rest = put_together([tensor.clone() for tensor in tensors], form)
    assert torch.equal(view.tokens, given[0].tokens)
    assert view.cu_seqlens is sights[0].cu_seqlens_k  # given twice, it is one tensor again
    assert torch.equal(sights[0].pattern.a_stop, given[1][0].pattern.a_stop)
    assert torch.equal(sights[0].bias.values_HR, given[1][0].bias.values_HR)
    assert (sights[1], rest) == (None, [0.5, (None, "text")])


def test_calls_have_one_form_where_only_what_tensors_hold_differs() -> None:
    def form(call: Any) -> Any:
        return take_apart(call)[1]

    given = call_on(make_view([[1, 2, 3], [4]], 6))
    assert form(given) == form(call_on(make_view([[9, 8], [7, 6]], 6)))
    assert hash(form(given)) == hash(form(call_on(make_view([[9, 8], [7, 6]], 6))))
    view = given[0]
    others = [
        call_on(view, RelativeBias(torch.randn(2, 5))),  # there where nothing was
        (*given[:2], 0.25, given[3]),  # another number
        (dataclasses.replace(view, cu_seqlens=view.cu_seqlens.clone()), *given[1:]),  # two tensors where one was
    ]
    assert all(form(other) != form(given) for other in others)


def test_without_gradients_and_in_evaluation_layers_run_as_they_are() -> None:
    class Once(nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            self.calls += 1
            return (x + 1,)

    layers = Once()
    replayed = Replayed(layers)
    with torch.no_grad():
        for _ in range(3):
            replayed(torch.zeros(2))
    layers.eval()
    for _ in range(3):
        assert replayed(torch.zeros(2))[0].tolist() == [1, 1]
    assert layers.calls == 6


def build(graphs: bool, **change: Any) -> EncoderDecoder:
    model = EncoderDecoder(ModelConfig(**SIZES, **change), VOCAB, seed=3).to("cuda", torch.bfloat16)
    set_cuda_graphs(model, graphs)
    return model


def views_on_gpu(seed: int, lengths: tuple[list[int], list[int]] = LENGTHS) -> Views:
    views = make_random_views(*lengths, VOCAB, seed=seed)
    return {name: view.to("cuda") for name, view in views.items()}


def results(model: EncoderDecoder, views: Views, taps: bool = False) -> list[torch.Tensor]:
    """States, and the gradients, added to those of the calls before."""
    tapped: list[torch.Tensor] | None = [] if taps else None
    memory = model.encode(views["encoder"], tapped)
    states = model.decode(views["decoder"], memory, views["encoder"])
    sum(((0.5 * x).float().pow(2).sum() for x in tapped or ()), start=states.float().pow(2).sum()).backward()
    return [states.clone(), *(parameter.grad.clone() for parameter in model.parameters())]


def assert_same_bits(act: Callable[[EncoderDecoder], list[torch.Tensor]], **change: Any) -> None:
    plain, replayed = act(build(False, **change)), act(build(True, **change))
    assert len(plain) == len(replayed)
    assert all(torch.equal(one, other) for one, other in zip(plain, replayed, strict=True))


@needs_gpu
@pytest.mark.parametrize("kind", ["t5", "rope", "alibi", "fire"])
def test_replayed_layers_train_to_the_same_bits(kind: str) -> None:
    def act(model: EncoderDecoder) -> list[torch.Tensor]:
        return [x for seed in range(6) for x in results(model, views_on_gpu(seed))]

    assert_same_bits(act, positions={"kind": kind})


@needs_gpu
def test_states_of_every_layer_are_those_of_the_layers_too() -> None:
    assert_same_bits(lambda model: [x for seed in range(6) for x in results(model, views_on_gpu(seed), taps=True)])


@needs_gpu
def test_recomputed_layers_are_recorded_and_dropped_tokens_run_between() -> None:
    def act(model: EncoderDecoder) -> list[torch.Tensor]:
        set_activation_checkpointing(model, True)
        found = [x for seed in range(6) for x in results(model, views_on_gpu(seed))]
        for dropping in token_droppings(model):
            dropping.kept_share = 0.5
        found += [x for seed in range(6) for x in results(model, views_on_gpu(seed))]
        for dropping in token_droppings(model):
            dropping.kept_share = 1.0
        return found + results(model, views_on_gpu(7))

    assert_same_bits(act)


@needs_gpu
def test_layers_called_twice_before_a_backward_keep_both_calls_apart() -> None:
    def act(model: EncoderDecoder) -> list[torch.Tensor]:
        found = []
        for seed in range(6):
            one, other = (model.encode(views_on_gpu(2 * seed + k)["encoder"]) for k in range(2))
            (one.float().pow(2).sum() + (one * other).float().sum()).backward()
            found += [parameter.grad.clone() for parameter in model.encoder.parameters()]
        return found

    assert_same_bits(act)
    model = build(True)
    act(model)
    assert model.encoder.replayed.num_recordings == 2


@needs_gpu
def test_a_call_that_is_thrown_away_frees_its_recording() -> None:
    model = build(True)
    for seed in range(6):
        model.encode(views_on_gpu(seed)["encoder"])
    assert model.encoder.replayed.num_recordings == 1


@needs_gpu
def test_shapes_that_do_not_come_often_are_not_recorded_and_recordings_go_with_their_shapes() -> None:
    model = build(True)

    def recordings(*lengths: int) -> list[int]:
        for length in lengths:
            results(model, views_on_gpu(0, ([length], [7])))
        return [model.encoder.replayed.num_recordings, model.decoder.replayed.num_recordings]

    assert recordings(*range(50, 50 + OF_CALLS), *range(50, 50 + OF_CALLS)) == [0, 0]
    assert recordings(40, 41, 40, 41, 40, 41) == [2, 2]
    assert recordings(*range(50, 50 + OF_CALLS)) == [0, 0]


@needs_gpu
def test_weights_that_were_moved_are_recorded_anew() -> None:
    def act(model: EncoderDecoder) -> list[torch.Tensor]:
        for seed in range(6):
            results(model, views_on_gpu(seed))
        for parameter in model.parameters():
            parameter.data = parameter.data * 1.5
        return [x for seed in range(6) for x in results(model, views_on_gpu(seed))]

    assert_same_bits(act)
