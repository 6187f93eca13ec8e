"""The plain torch specification of what happens to a chunk of logits: their loss, and their gradient in their place.

Shape suffixes: C rows of the chunk, R those of them in one step, V vocabulary.
"""

import itertools
from collections.abc import Callable

import torch

LossAndGradient = Callable[[torch.Tensor, torch.Tensor, float, float, bool], torch.Tensor]

_CACHED_LOGITS = 2**17  # the wide copies of so many stay in a processor's cache


def loss_and_gradient(
    logits_CV: torch.Tensor, labels_C: torch.Tensor, z_loss: float, label_smoothing: float, wanted: bool
) -> torch.Tensor:
    """The rows' losses, summed, in at least float32; `logits_CV` becomes its own gradient if that is `wanted`."""
    num_logits = logits_CV.shape[1]
    wide = torch.promote_types(logits_CV.dtype, torch.float32)
    total = torch.zeros((), dtype=wide, device=logits_CV.device)
    for rows in slices(len(logits_CV), num_logits, _CACHED_LOGITS if logits_CV.is_cpu else logits_CV.numel()):
        logits, labels_R1 = logits_CV[rows].to(wide), labels_C[rows, None]
        normaliser_R1 = torch.logsumexp(logits, dim=-1, keepdim=True)
        targets_R1 = (1 - label_smoothing) * logits.gather(1, labels_R1)
        if label_smoothing:
            targets_R1 = targets_R1 + label_smoothing * logits.mean(-1, keepdim=True)
        total += (normaliser_R1 - targets_R1 + z_loss * normaliser_R1.square()).sum()
        if wanted:
            grad = logits.sub_(normaliser_R1).exp_()
            if z_loss:
                grad *= 1 + 2 * z_loss * normaliser_R1
            if label_smoothing:
                grad -= label_smoothing / num_logits
            grad.scatter_add_(1, labels_R1, grad.new_full((), label_smoothing - 1).expand_as(labels_R1))
            logits_CV[rows] = grad
    return total


def slices(num_rows: int, num_logits: int, most_logits: int) -> list[slice]:
    """All rows, in consecutive runs of about equal length with at most `most_logits` logits each."""
    count = -(-num_rows // max(1, most_logits // num_logits))
    bounds = [num_rows * number // count for number in range(count + 1)] if count else [0]
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
