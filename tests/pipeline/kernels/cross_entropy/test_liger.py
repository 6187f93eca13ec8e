"""Cross entropy on a GPU without one: Liger's kernel run by the interpreter, compiled for three architectures."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton.compiler import ASTSource

from pipeline.kernels.cross_entropy import cpu, liger, linear, linear_cross_entropy_sum, reference
from pipeline.kernels.fusion import FUSED
from tests.pipeline.kernels.gpu import TARGETS, interpreted, needs_gpu, spills

# float16: logits, probabilities and the products' results are rounded in turn, eight times finer than bfloat16.
BOUNDS = {"torch.float32": 1e-6, "torch.float16": 2**-9}


def test_the_interpreted_kernel_gives_torchs_sum_and_gradients() -> None:
    lines = [json.loads(line) for line in interpreted("tests.pipeline.kernels.cross_entropy.interpreted").splitlines()]
    assert len(lines) == 8
    for line in lines:
        for name, error in line["errors"].items():
            assert error <= BOUNDS[line["dtype"]], f"{line['case']}: {name} in {line['dtype']} is {error:.2g} off"


@pytest.mark.parametrize(
    "architecture", ["sm_90", *(pytest.param(name, marks=pytest.mark.long) for name in ("sm_80", "gfx942"))]
)
def test_it_compiles_without_spills(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from liger_kernel.ops.cross_entropy import liger_cross_entropy_kernel as kernel

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    absent = ("weight_ptr", "z_loss_ptr", "token_accuracy_ptr", "predicted_tokens_ptr", "softcap")
    constants: dict[str, Any] = dict.fromkeys(absent) | {"BLOCK_SIZE": liger.columns_at_once(32128), "reduction": "sum"}
    constants |= {"lse_square_scale": 1e-4, "label_smoothing": 0.1, "HAS_GRADIENTS": True}
    constants |= {
        name: False for name in kernel.arg_names if name.startswith(("RETURN_", "HAS_")) and name not in constants
    }
    types = {"X_ptr": "*bf16", "Y_ptr": "*i64", "loss_ptr": "*fp32", "weight_sum": "fp32"}
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    values = {(place,): constants[name] for place, name in enumerate(kernel.arg_names) if name in constants}
    aligned = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in ("X_ptr", "X_stride", "loss_ptr")}
    source = ASTSource(kernel, signature, values, aligned)
    code = triton.compile(source, target=TARGETS[architecture], options={"num_warps": liger.NUM_WARPS, **FUSED})
    assert spills(code, tmp_path) == 0


def test_the_operator_is_sound_for_torch_compile() -> None:
    """Its schema says that the logits are overwritten; its fake gives a loss for each row."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        losses = torch.ops.spanwright.cross_entropy_(
            torch.empty(3, 8), torch.zeros(3, dtype=torch.int64), 0.0, 0.0, True
        )
    assert losses.shape == (3,)
    assert losses.dtype == torch.float32
    assert torch.ops.spanwright.cross_entropy_.default._schema.arguments[0].alias_info.is_write


def test_without_liger_or_a_gpu_plain_torch_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "library", lambda: None)
    assert not liger.fits(torch.zeros(2, 3))
    used = []
    monkeypatch.setattr(
        linear, "loss_and_gradient", lambda *given: used.append(1) or reference.loss_and_gradient(*given)
    )
    linear_cross_entropy_sum(torch.zeros(2, 3), torch.zeros(5, 3), torch.tensor([0, 4]))
    assert used


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_it_agrees_with_the_reference_and_its_bits_repeat(dtype: torch.dtype) -> None:
    generator = torch.Generator(device="cuda").manual_seed(1)
    logits = torch.randn(64, 32128, generator=generator, device="cuda").mul(3).to(dtype)
    labels = torch.randint(0, 32128, (64,), generator=generator, device="cuda")
    exact, ours, again = logits.double(), logits.clone(), logits.clone()
    expected = reference.loss_and_gradient(exact, labels, 1e-4, 0.1, True)
    loss = liger.loss_and_gradient(ours, labels, 1e-4, 0.1, True)
    assert torch.equal(loss, liger.loss_and_gradient(again, labels, 1e-4, 0.1, True))
    assert torch.equal(ours, again)
    assert abs(float(loss / expected) - 1) < 1e-6
    assert (ours.double() - exact).norm() < (2**-8 if dtype == torch.bfloat16 else 1e-6) * exact.norm()
