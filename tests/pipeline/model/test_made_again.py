"""Selective recomputation: the product of a gated feed-forward is not kept for backward, and gradients are the same."""

import weakref

import pytest
import torch

from pipeline.batch import Batch
from pipeline.model.blocks import GatedFeedForward
from pipeline.model.config import ModelConfig
from pipeline.model.streams import key_streams

SHAPE = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4, "dropout_rate": 0.25}


def trained(view: Batch, dtype: torch.dtype, keeps_all: bool) -> tuple[list[torch.Tensor], list[bool]]:
    """Gradients of input and weights; and of each product that was made, whether it was there after forward."""
    torch.manual_seed(0)
    feed_forward = GatedFeedForward(ModelConfig.model_validate(SHAPE))
    key_streams(feed_forward, 7)
    feed_forward.to(dtype).keeps_all = keeps_all
    made: list[weakref.ref[torch.Tensor]] = []
    feed_forward.dropout.register_forward_hook(lambda module, given, result: made.append(weakref.ref(result)))
    x_TW = torch.randn(len(view.tokens), SHAPE["d_model"]).to(dtype).requires_grad_()
    out_TW = feed_forward(x_TW, view)
    there = [product() is not None for product in made]
    out_TW.float().square().sum().backward()
    assert len(made) == (1 if keeps_all else 2)
    gradients = [tensor.grad for tensor in (x_TW, *feed_forward.parameters())]
    return [gradient for gradient in gradients if gradient is not None], there


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_product_that_is_made_again_gives_the_same_gradients(dtype: torch.dtype, random_views) -> None:
    view = random_views([40, 0, 1, 90], [12, 0, 2, 16], 192, seed=5)["encoder"]
    (again, gone), (once, kept) = (trained(view, dtype, whole) for whole in (False, True))
    assert [gone, kept] == [[False], [True]]
    assert len(again) == 4
    assert all(torch.equal(one, other) for one, other in zip(again, once, strict=True))
