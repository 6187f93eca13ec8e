"""GPUs as their makers describe them. Dense bf16 rates without sparsity; memory in GB (10^9), as printed on the box."""

import difflib
from typing import NamedTuple

from data_prep.errors import InputError


class Gpu(NamedTuple):
    """One kind of GPU."""

    name: str
    bf16_tflops: float
    memory_gb: float
    link_gb_per_second: float
    """Within a node, one direction (NVLink, or PCIe where there is none)."""
    source: str


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("h100", 989.0, 80.0, 450.0, "NVIDIA H100 SXM datasheet"),
        Gpu("h200", 989.0, 141.0, 450.0, "NVIDIA H200 SXM datasheet"),
        Gpu("b200", 2250.0, 180.0, 900.0, "NVIDIA DGX B200 datasheet (per GPU)"),
        Gpu("a100", 312.0, 80.0, 300.0, "NVIDIA A100 80GB SXM datasheet"),
        Gpu("a100-40", 312.0, 40.0, 300.0, "NVIDIA A100 40GB SXM datasheet"),
        Gpu("l40s", 362.0, 48.0, 32.0, "NVIDIA L40S datasheet (PCIe 4.0 x16)"),
        Gpu("a10g", 70.0, 24.0, 32.0, "NVIDIA A10 datasheet, as AWS G5 limits it"),
    )
}

NETWORK_GB_PER_SECOND = 50.0  # one 400 Gb/s InfiniBand NDR port per GPU, as in a DGX H100
MFU = 0.30  # what nobody trains T5 much above on GPUs: nanoT5 31 % (A100), T5X XL 36 %, Rosetta 26 % (H100, fp8)
DISK_GB_PER_SECOND = 1.0  # written by one node


def find_gpu(name: str) -> Gpu:
    """The GPU of that name; InputError naming those there are."""
    if name in GPUS:
        return GPUS[name]
    near = difflib.get_close_matches(name, GPUS, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise InputError(f"--gpu: {name!r} is not known. {hint}Known: {', '.join(GPUS)}.")
