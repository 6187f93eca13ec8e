"""An explicit joint distribution of two tokens from a masked language model's conditionals, which may contradict.

Torroba Hennigen and Kim 2023 ("Deriving Language Models from Masked Language Models", section 2). Given q(a | b) and
q(b | a) for two masked places with all else shown:
- independent: the product of both, each with the other masked too (what a masked language model says of two masks);
- MRF: proportional to the product of the conditionals' logits, here q(a | b) q(b | a);
- Arnold-Gokhale: the joint whose conditionals are nearest in KL (Arnold and Gokhale 1998), by their fixed point
      p(a, b) <- (q(a | b) + q(b | a)) / (1 / p(a) + 1 / p(b)), normalised.
Where one joint has both conditionals, the fixed point is that joint.

Shape suffixes: A tokens of the first place, B of the second (the same vocabulary).
"""

import torch


def arnold_gokhale(
    first_given_second_AB: torch.Tensor,
    second_given_first_AB: torch.Tensor,
    iterations: int = 2000,
    tolerance: float = 1e-12,
) -> torch.Tensor:
    """The joint [A, B] in float64, after `iterations` or when no probability moves by more than `tolerance` of itself.

    Columns of `first_given_second_AB` sum to 1, and so do rows of `second_given_first_AB`; all entries are positive.
    """
    total_AB = first_given_second_AB.double() + second_given_first_AB.double()
    joint_AB = torch.full_like(total_AB, 1 / total_AB.numel())
    for _ in range(iterations):
        first_A1, second_1B = joint_AB.sum(1, keepdim=True), joint_AB.sum(0, keepdim=True)
        moved_AB = total_AB / (1 / first_A1 + 1 / second_1B)
        moved_AB /= moved_AB.sum()
        change = float(((moved_AB - joint_AB).abs() / joint_AB).max())
        joint_AB = moved_AB
        if change <= tolerance:
            break
    return joint_AB


def markov_field(first_given_second_AB: torch.Tensor, second_given_first_AB: torch.Tensor) -> torch.Tensor:
    """The joint [A, B] proportional to both conditionals' product, in float64."""
    product_AB = first_given_second_AB.double() * second_given_first_AB.double()
    return product_AB / product_AB.sum()


def conditionals(joint_AB: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(first given second, second given first) of a joint, both [A, B]."""
    return joint_AB / joint_AB.sum(0, keepdim=True), joint_AB / joint_AB.sum(1, keepdim=True)
