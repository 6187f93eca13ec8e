"""A whole model trained with the kernels and with their plain references: the same losses within rounding."""

import contextlib

import pytest
import torch

import pipeline.kernels.attention as attention_package
from pipeline.batch import IGNORED_LABEL, Views
from pipeline.kernels.rows import operator as rows_operator
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.streams import key_streams

VOCAB, STEPS = 192, 8
SHAPE = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.1}
# float32: a sum in another order moves the last bits, and eight steps of AdamW, which divides small gradients by
# themselves, make 1e-7 of it 1e-5. bfloat16: 2**-8 a number, averaged over all rows.
BOUNDS = {torch.float32: 2e-4, torch.bfloat16: 2e-2}


def losses(fused: bool, own: dict, dtype: torch.dtype, views: Views) -> list[float]:
    config = ModelConfig.model_validate(SHAPE | own)
    model = EncoderDecoder(config, VOCAB, seed=3)
    key_streams(model, 7)
    model = model.to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    found = []
    with contextlib.ExitStack() as patched:
        if not fused:
            patch = patched.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(attention_package, "fits", lambda *_: False)
            patch.setattr(rows_operator, "fits", lambda *_: False)
        for _ in range(STEPS):
            states = model.decode(views["decoder"], model.encode(views["encoder"]), views["encoder"])
            labels = views["decoder"].labels.long()
            logits = model.head(states).float()
            loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED_LABEL)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return found


@pytest.mark.parametrize(
    ("own", "dtype"),
    [
        ({}, torch.float32),
        ({}, torch.bfloat16),
        ({"positions": "fire"}, torch.float32),
        ({"positions": "rope", "randomized_positions": 200}, torch.float32),
        ({"architecture": "bart"}, torch.bfloat16),
    ],
    ids=str,
)
def test_training_with_the_kernels_and_without_has_the_same_losses(own: dict, dtype: torch.dtype, random_views) -> None:
    views = random_views([40, 0, 1, 90], [12, 0, 2, 16], VOCAB, seed=5)
    with_kernels, plain = (losses(fused, own, dtype, views) for fused in (True, False))
    assert with_kernels[-1] < 0.9 * with_kernels[0]
    assert with_kernels != plain, "the kernels did run"
    for step, (one, other) in enumerate(zip(with_kernels, plain, strict=True)):
        assert abs(one - other) <= BOUNDS[dtype] * other, f"step {step}: {one} and {other}"
