"""Two-token joints: exact where the conditionals agree, the nearest where they do not."""

import torch

from pipeline.evaluation.joints import arnold_gokhale, conditionals, markov_field


def drawn(rows: int, columns: int, seed: int) -> torch.Tensor:
    """A joint with every entry positive."""
    generator = torch.Generator().manual_seed(seed)
    joint_AB = torch.rand(rows, columns, generator=generator, dtype=torch.float64).square() + 1e-3
    return joint_AB / joint_AB.sum()


def distance(joint_AB: torch.Tensor, first_AB: torch.Tensor, second_AB: torch.Tensor) -> float:
    """What Arnold and Gokhale make least: the KL of both sets of conditionals from the joint's own."""
    own = conditionals(joint_AB)
    return sum(float((said * (said / has).log()).sum()) for said, has in zip((first_AB, second_AB), own, strict=True))


def test_the_conditionals_of_a_joint_give_that_joint_back() -> None:
    for seed, shape in enumerate([(2, 2), (7, 5), (60, 60)]):
        joint_AB = drawn(*shape, seed)
        found_AB = arnold_gokhale(*conditionals(joint_AB), iterations=20_000)
        # The fixed point is approached geometrically; it stops when nothing moves by 1e-12 of itself.
        assert torch.allclose(found_AB, joint_AB, rtol=1e-8)


def test_conditionals_that_contradict_get_a_joint_that_no_change_brings_nearer() -> None:
    first_AB, _ = conditionals(drawn(6, 6, 1))
    _, second_AB = conditionals(drawn(6, 6, 2))
    found_AB = arnold_gokhale(first_AB, second_AB, iterations=20_000)
    least = distance(found_AB, first_AB, second_AB)
    assert least < distance(markov_field(first_AB, second_AB), first_AB, second_AB)
    for seed in range(20):
        for size in (1e-3, 0.1):
            other_AB = found_AB * (1 + size * (drawn(6, 6, 100 + seed) * 36 - 1))
            assert distance(other_AB / other_AB.sum(), first_AB, second_AB) > least


def test_a_markov_field_of_contradicting_conditionals_is_a_distribution() -> None:
    joint_AB = markov_field(conditionals(drawn(3, 4, 1))[0], conditionals(drawn(3, 4, 2))[1])
    assert float(joint_AB.sum()) == 1.0
    assert joint_AB.min() > 0
