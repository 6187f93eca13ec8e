"""Updates of one process beside plain torch; test_engine.py has them under ZeRO, on several ranks."""

import pytest
import torch
from torch import nn

from pipeline.training.config import TrainingConfig
from pipeline.training.optimizers.build import build_optimizer
from pipeline.training.optimizers.flat import Layout, Piece
from pipeline.training.optimizers.muon import Muon, _orthogonal

pytestmark = pytest.mark.usefixtures("one_thread")
RATE, DECAY, STEPS = 1e-2, 0.1, 4
SHAPES = {"embedding": (30, 16), "blocks.0.wide": (16, 40), "blocks.0.tall": (40, 16), "blocks.0.norm": (16,)}


class Parameters(nn.Module):
    """Parameters by dotted names."""

    def __init__(self, values: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, value in values.items():
            owner: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(owner, part):
                    owner.add_module(part, nn.Module())
                owner = getattr(owner, part)
            owner.register_parameter(last, nn.Parameter(value.clone()))


def drawn(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def config(optimizer: str, precision: str = "bf16") -> TrainingConfig:
    fields = {"steps": 9, "global_batch": 1, "micro_batch": 1, "schedule": {"kind": "constant"}, "precision": precision}
    return TrainingConfig.model_validate({**fields, "optimizer": optimizer, "weight_decay": DECAY})


def stepped(optimizer: str) -> dict[str, torch.Tensor]:
    """The parameters after some updates by ours."""
    model = Parameters(drawn(0))
    ours = build_optimizer(model, config(optimizer))
    for step in range(STEPS):
        for name, gradient in drawn(1 + step).items():
            model.get_parameter(name).grad = gradient
        for group in ours.param_groups:
            group["lr"] = RATE
        ours.step()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def test_muons_update_is_torchs_own_to_the_bit_and_that_of_all_else_is_adamws() -> None:
    values = {name: nn.Parameter(value) for name, value in drawn(0).items()}
    matrices = [values["blocks.0.wide"], values["blocks.0.tall"]]
    muon = torch.optim.Muon(matrices, lr=RATE, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    rest = [{"params": [values["embedding"]]}, {"params": [values["blocks.0.norm"]], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(rest, lr=RATE, weight_decay=DECAY, fused=True)
    for step in range(STEPS):
        for name, gradient in drawn(1 + step).items():
            values[name].grad = gradient
        muon.step()
        adamw.step()
    for name, value in stepped("muon").items():
        assert torch.equal(value, values[name]), name


def test_muon_orthogonalises_in_the_precision_of_the_run() -> None:
    """Its polynomial, on the singular values alone, in float64; float32 rounds them by 6e-8, which grows 485 times."""
    for name in ("blocks.0.wide", "blocks.0.tall"):
        matrix = drawn(1)[name]
        u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
        s = s / s.norm()
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        off_by = {
            dtype: (_orthogonal(matrix, dtype) - u * s @ v).abs().max() for dtype in (torch.float32, torch.bfloat16)
        }
        assert off_by[torch.float32] < 5e-6
        assert 1e-3 < off_by[torch.bfloat16] < 5e-2
    built = {
        precision: build_optimizer(Parameters(drawn(0)), config("muon", precision)) for precision in ("fp32", "bf16")
    }
    assert built["fp32"]._products == torch.float32
    assert built["bf16"]._products == torch.bfloat16


@pytest.mark.usefixtures("process_group")
def test_muon_steps_matrices_in_a_flat_tensor_as_it_does_matrices_whole_or_cut() -> None:
    whole = stepped("muon")
    names = ["blocks.0.wide", "blocks.0.tall"]
    flat = nn.Parameter(torch.cat([drawn(0)[name].flatten() for name in names]))
    first, second = (torch.Size(SHAPES[name]) for name in names)
    size, total = first.numel(), first.numel() + second.numel()
    # The second matrix in two pieces, as if the border of two ranks lay in it.
    pieces = [Piece(0, size, 0, 0), Piece(size, size + 50, 1, 0), Piece(size + 50, total, 1, 50)]
    options = {"params": [flat], "weight_decay": DECAY, "matrices": True, "moments": ("exp_avg",)}
    muon = Muon([options], lr=RATE, fused=True)
    muon.lay_out(Layout({flat: pieces}, [first, second], sharded=True))
    for step in range(STEPS):
        flat.grad = torch.cat([drawn(1 + step)[name].flatten() for name in names])
        muon.step()
    for name, value in zip(names, flat.detach().split([size, total - size]), strict=True):
        assert torch.equal(value.view(SHAPES[name]), whole[name]), name


def test_lions_update_is_its_papers() -> None:
    values, means = drawn(0), {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    for step in range(STEPS):
        for name, gradient in drawn(1 + step).items():
            update = torch.sign(0.9 * means[name] + 0.1 * gradient)
            values[name] -= RATE * (update + DECAY * (values[name].ndim > 1) * values[name])
            means[name] = 0.99 * means[name] + 0.01 * gradient
    for name, value in stepped("lion").items():
        torch.testing.assert_close(value, values[name], rtol=1e-6, atol=1e-7)  # the order of a sum of three


def test_a_schedule_free_optimizers_weights_and_average_are_their_papers() -> None:
    model = Parameters(drawn(0))
    ours = build_optimizer(model, config("schedule_free"))
    z, squares = drawn(0), {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    average, weights = drawn(0), 0.0
    for step, rate in enumerate((0.5 * RATE, RATE, RATE, RATE), start=1):
        weights += rate**2
        for name, gradient in drawn(step).items():
            y = model.get_parameter(name)
            y.grad = gradient
            squares[name] = 0.999 * squares[name] + 0.001 * gradient**2
            update = gradient / ((squares[name] / (1 - 0.999**step)).sqrt() + 1e-8)
            z[name] = z[name] - rate * (update + DECAY * (y.ndim > 1) * y.detach())
            average[name] = average[name] + rate**2 / weights * (z[name] - average[name])
        for group in ours.param_groups:
            group["lr"] = rate
        ours.step()
        for name, y in model.named_parameters():  # a handful of float32 operations a step
            torch.testing.assert_close(y.detach(), 0.1 * z[name] + 0.9 * average[name], rtol=3e-6, atol=3e-6)
    trained = {name: y.detach().clone() for name, y in model.named_parameters()}
    ours.swap()  # type: ignore[attr-defined]
    for name, x in model.named_parameters():
        torch.testing.assert_close(x.detach(), average[name], rtol=3e-6, atol=3e-6)
    ours.swap()  # type: ignore[attr-defined]
    assert all(torch.equal(y, trained[name]) for name, y in model.named_parameters())
