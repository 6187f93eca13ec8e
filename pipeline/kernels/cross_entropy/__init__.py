"""Cross entropy over a vocabulary, summed: float32 arithmetic without a float32 copy of all logits."""

from pipeline.kernels.cross_entropy.reference import cross_entropy_sum

__all__ = ["cross_entropy_sum"]
