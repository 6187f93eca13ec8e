"""A chunk of logits on a GPU: their loss, and their gradient in their place, by Liger's kernel (Hsu et al. 2024).

The one home of liger-kernel. Its kernel reads the logits twice and writes them once: 6 bytes for each in bfloat16,
where plain torch, one operation after another, moves 52. Each program owns a row: no atomics, the bits repeat. The
kernel is called and not Liger's Python side, which waits for the device to count labels.

Shape suffixes: C rows of the chunk, V vocabulary.
"""

import torch

from pipeline.kernels.fusion import FUSED
from pipeline.kernels.packages import is_installed

MOST_COLUMNS = 2**13  # of a row at a time: Liger's own 2**15 spills where the vocabulary is no multiple of 16
NUM_WARPS = 16
NO_LABEL = -1  # labels are 0 and more


def fits(states: torch.Tensor) -> bool:
    """Whether the kernel takes logits made of these: on a GPU, not float64, where Liger is installed."""
    return states.is_cuda and states.dtype != torch.float64 and is_installed("liger_kernel")


def loss_and_gradient(
    logits_CV: torch.Tensor, labels_C: torch.Tensor, z_loss: float, label_smoothing: float, wanted: bool
) -> torch.Tensor:
    """As in reference.py; summed in float32."""
    return torch.ops.spanwright.cross_entropy_(logits_CV, labels_C, z_loss, label_smoothing, wanted).sum()


def columns_at_once(num_logits: int) -> int:
    """How much of a row a program looks at in one step."""
    return min(MOST_COLUMNS, 1 << (num_logits - 1).bit_length())


@torch.library.custom_op("spanwright::cross_entropy_", mutates_args=("logits",))
def _cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, z_loss: float, label_smoothing: float, wanted: bool
) -> torch.Tensor:
    from liger_kernel.ops.cross_entropy import liger_cross_entropy_kernel  # not installed everywhere

    losses = logits.new_empty(len(logits), dtype=torch.float32)
    absent = {"weight_ptr": None, "z_loss_ptr": None, "token_accuracy_ptr": None, "predicted_tokens_ptr": None}
    strides = {"X_stride": logits.stride(0), "Y_stride": 1, "loss_stride": 1}
    strides |= {"token_accuracy_stride": 0, "predicted_tokens_stride": 0}
    # Of a mean and of classes with weights, which are not asked for.
    unused = {"n_non_ignore": 1, "sum_non_ignore_weight": 1, "weight_sum": 0.0, "softcap": None}
    asked = {"HAS_GRADIENTS": wanted, "HAS_WEIGHT": False, "HAS_SOFTCAPPING": False, "RETURN_Z_LOSS": False}
    asked |= {"RETURN_TOKEN_ACCURACY": False, "RETURN_PREDICTED_TOKENS": False}
    if len(logits):
        liger_cross_entropy_kernel[(len(logits),)](
            X_ptr=logits,
            Y_ptr=labels,
            loss_ptr=losses,
            n_cols=logits.shape[1],
            ignore_index=NO_LABEL,
            lse_square_scale=z_loss,
            label_smoothing=label_smoothing,
            reduction="sum",
            **absent,
            **strides,
            **unused,
            **asked,
            BLOCK_SIZE=columns_at_once(logits.shape[1]),
            num_warps=NUM_WARPS,
            **FUSED,
        )
    return losses


@_cross_entropy.register_fake
def _(logits: torch.Tensor, labels: torch.Tensor, z_loss: float, label_smoothing: float, wanted: bool) -> torch.Tensor:
    return logits.new_empty(len(logits), dtype=torch.float32)
