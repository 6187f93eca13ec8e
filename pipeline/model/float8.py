"""Float8 for the products of the layers' linear maps (Micikevicius et al. 2022, arXiv:2209.05433), by torchao.

The one home of torchao. A map has three products: forward, and backward for its input and for its weight. Operands are
scaled by the largest number they hold right then, over the whole tensor or by row, and rounded to 8 bits; sums are
float32's, results bfloat16's. Nothing is remembered from step to step: parameters, masters, checkpoints and exports
are what they are without. Attention, norms, embeddings, heads and losses stay as they are.

1. `use_float8` swaps each map of every stack for torchao's, around the same parameters
2. on a GPU `compile_maps` fuses what surrounds a product, which takes longer than the product otherwise
3. on a CPU operands are rounded to float8 and multiplied in float32: how a training goes, not how fast
"""

from dataclasses import replace

import torch
from torch import nn

from data_prep.errors import InputError
from pipeline.kernels.packages import is_installed, quiet_torchao
from pipeline.model.layers import Layers

MULTIPLE = 16  # of rows and columns of a matrix: what the products of GPUs take
RECOMPILATIONS = 64
"""Maps share what is compiled: a graph for each shape, in training, evaluation and recording; torch's limit is 8."""
LEAST_CAPABILITY = {"cuda": (8, 9), "hip": (9, 4)}  # Ada, and CDNA 3: the first with products of float8


def use_float8(model: nn.Module, recipe: str, device: torch.device) -> None:
    """Let the linear maps in the layers of `model` compute by torchao's recipe of this name, on this kind of device.

    InputError where torchao, the device or the size of a map does not let them.
    """
    stacks = [module for module in model.modules() if isinstance(module, Layers)]
    what = _hindrance(stacks, device)
    if what is not None:
        raise InputError(f"training.float8={recipe} {what}, or leave it out (training.float8=null)")
    quiet_torchao()
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training  # not installed everywhere

    # Rows of a step need not be a multiple of 16; those of the maps are.
    config = replace(Float8LinearConfig.from_recipe_name(recipe), emulate=device.type == "cpu", pad_inner_dim=True)
    for layers in stacks:
        convert_to_float8_training(layers, config=config)
    if device.type == "cuda":
        compile_maps(model, "inductor")


def compile_maps(model: nn.Module, backend: str) -> None:
    """Compile each linear map in the layers of `model` by itself, when it first runs."""
    for module in model.modules():
        if isinstance(module, Layers):
            for linear in _maps(module).values():
                linear.compile(backend=backend, recompile_limit=RECOMPILATIONS)


def _maps(module: nn.Module) -> dict[str, nn.Linear]:
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}


def _hindrance(stacks: list[Layers], device: torch.device) -> str | None:
    """Why it cannot be, and what to do."""
    if not is_installed("torchao"):
        return "needs torchao, which is not installed: pip install -e .[gpu]"
    if device.type == "cuda":
        least = LEAST_CAPABILITY["cuda" if torch.version.hip is None else "hip"]
        found = torch.cuda.get_device_capability(device)
        if found < least:
            return (
                f"needs a GPU with products of float8 (compute capability {_version(least)}), and this one has "
                f"{_version(found)}: take another GPU"
            )
    for layers in stacks:
        for name, linear in _maps(layers).items():
            if linear.in_features % MULTIPLE or linear.out_features % MULTIPLE:
                return (
                    f"needs maps between multiples of {MULTIPLE} columns, and layer {name} has {linear.in_features} "
                    f"and {linear.out_features}: change model.d_model, d_ff or num_heads x d_kv"
                )
    return None


def _version(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
