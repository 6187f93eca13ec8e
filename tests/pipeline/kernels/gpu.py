"""GPU kernels in tests: run by Triton's interpreter, compiled without a GPU, or run on the one that is there."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget

ROOT = Path(__file__).parents[3]
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def interpreted(module: str, *arguments: object) -> str:
    """What `python -m MODULE` prints where Triton interprets its kernels (it asks when it is imported)."""
    command = [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def spills(kernel: Any, folder: Path) -> int:
    """Bytes (NVIDIA: of the cubin's stack, where nothing else of ours lies) or registers (AMD) spilled to memory."""
    if "amdgcn" in kernel.asm:
        return int(re.search(r"\.vgpr_spill_count:\s*(\d+)", kernel.asm["amdgcn"])[1])
    (folder / "kernel.cubin").write_bytes(kernel.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run([tool, "-res-usage", folder / "kernel.cubin"], capture_output=True, text=True, check=True)
    return sum(int(number) for number in re.findall(r"(?:STACK|LOCAL):(\d+)", usage.stdout))
