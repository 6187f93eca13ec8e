"""Masking on a device: without one, by Triton's interpreter and compiled for three architectures; with one, there."""

from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton.compiler import ASTSource

from data_prep.errors import InputError
from pipeline.corruption.config import CorruptionConfig
from pipeline.corruption.pieces import gather_pieces
from pipeline.kernels import masking
from pipeline.kernels.fusion import FUSED
from pipeline.kernels.masking import device, triton_units
from tests.pipeline.kernels.gpu import TARGETS, interpreted, needs_gpu
from tests.pipeline.kernels.masking.cases import (
    COLUMNS,
    LONG,
    assert_equal_views,
    long_corruption,
    long_samples,
    save_similar_table,
)

NUMBERS = {"num_units": "i32", "key_low": "i32", "key_high": "i32", "purposes": "i32", "BLOCKS": "constexpr"}


def agreed(*numbers: int) -> int:
    """How many pieces agreed; `numbers` are what the program is asked for."""
    return int(interpreted("tests.pipeline.kernels.masking.interpreted", *numbers))


def test_the_device_gives_the_kernels_bits_on_pieces_of_any_length() -> None:
    """Every select, replace and layout is among every eleventh combination; pieces of 0 to 8,192 tokens."""
    assert agreed(1, 11, 1) > 500


@pytest.mark.long
def test_the_device_gives_the_kernels_bits_on_20_000_pieces_of_every_combination() -> None:
    assert agreed(3, 1, 3) > 20_000


@pytest.mark.parametrize("target", TARGETS)
def test_the_kernels_compile(target: str) -> None:
    for kernel in (triton_units._draw, triton_units.join_units, triton_units.fit_units):
        signature = {name: NUMBERS.get(name, "*i64") for name in kernel.arg_names}
        constants = {(kernel.arg_names.index("BLOCKS"),): 128} if "BLOCKS" in kernel.arg_names else {}
        source: Any = ASTSource(kernel, signature, constants)
        made = triton.compile(source, target=TARGETS[target], options={"num_warps": 1, **FUSED})
        assert made.asm["hsaco" if target == "gfx942" else "cubin"]


def test_a_corruption_that_the_device_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(device.SELECTS, "suffix")
    config = CorruptionConfig.model_validate({"select": {"kind": "suffix"}})
    masking.check_device(CorruptionConfig(), torch.device("cuda"))
    masking.check_device(config, torch.device("cpu"))
    with pytest.raises(InputError, match=r"corruption\.select suffix is masked in the loader only"):
        masking.check_device(config, torch.device("cuda"))


@needs_gpu
@pytest.mark.parametrize(("select", "replace", "layout"), LONG)
def test_on_a_gpu_the_bits_are_the_kernels(select: dict, replace: dict, layout: dict, tmp_path: Path) -> None:
    save_similar_table(tmp_path)
    made = long_corruption(select, replace, layout)
    pieces = gather_pieces(long_samples(), COLUMNS)
    got = masking.mask(made._plan, masking.send(pieces, torch.device("cuda")))
    for name, view in masking.mask(made._plan, pieces).items():
        assert_equal_views(view.to("cpu"), got[name].to("cpu"), f"{made.config} {name}")
