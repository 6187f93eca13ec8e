import pytest
import torch

from pipeline.kernels.rows import reference
from pipeline.model.config import ModelConfig
from pipeline.model.norm import RMSNorm

CONFIG = ModelConfig(d_model=16, d_ff=8, num_layers=1, num_heads=1)


def plain(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + CONFIG.layer_norm_epsilon) * weight


@pytest.mark.parametrize("rows", [0, 1, 23])
def test_value_and_gradient_are_those_of_the_plain_formula(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_CHUNK_NUMBERS", 5 * 16)  # 23 rows in chunks of 5
    generator = torch.Generator().manual_seed(0)
    layer = RMSNorm(CONFIG).double()
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
    x = torch.randn(rows, 16, generator=generator, dtype=torch.float64).requires_grad_()
    ours, theirs = layer(x), plain(x, layer.weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    got = torch.autograd.grad(ours.pow(3).sum(), (x, layer.weight))
    expected = torch.autograd.grad(theirs.pow(3).sum(), (x, layer.weight))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_bf16_rows_are_normalised_in_float32() -> None:
    layer = RMSNorm(CONFIG).bfloat16()
    x = (100 + torch.randn(50, 16, generator=torch.Generator().manual_seed(1))).bfloat16()
    expected = plain(x.float(), torch.ones(16)).bfloat16()
    assert torch.equal(layer(x), expected)
