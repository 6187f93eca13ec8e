"""What a linear map can read off states, and what it cannot."""

import pytest
import torch

from pipeline.evaluation.linear_probe import LinearProbe

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_reads_a_direction_that_is_small_beside_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2000, 8, generator=generator) * torch.tensor([100.0] * 7 + [0.01]) + 5.0
    labels = (states[:, 7] > 5.0).long()
    probe = LinearProbe.fit(states[:1000], labels[:1000], num_classes=2)
    assert probe.accuracy(states[1000:], labels[1000:]) > 0.97


def test_it_reads_nothing_off_an_exclusive_or() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2000, 2, generator=generator)
    labels = ((states[:, 0] > 0) ^ (states[:, 1] > 0)).long()
    probe = LinearProbe.fit(states[:1000], labels[:1000], num_classes=2)
    assert probe.accuracy(states[1000:], labels[1000:]) < 0.6


def test_the_same_states_give_the_same_probe() -> None:
    generator = torch.Generator().manual_seed(1)
    states, labels = torch.randn(300, 5, generator=generator), torch.arange(300) % 3
    first, again = (LinearProbe.fit(states, labels, 3) for _ in range(2))
    assert torch.equal(first.weight_CW, again.weight_CW)
    assert torch.equal(first.bias_C, again.bias_C)
