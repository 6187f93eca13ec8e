"""A linear probe: how much of a label can be read off frozen states by a linear map (Alain and Bengio 2016).

Shape suffixes: R rows, W width, C classes.
"""

from dataclasses import dataclass

import torch
from torch import nn

_ITERATIONS = 100


@dataclass(frozen=True)
class LinearProbe:
    """Multinomial logistic regression on standardised states."""

    mean_W: torch.Tensor
    scale_W: torch.Tensor
    weight_CW: torch.Tensor
    bias_C: torch.Tensor

    @classmethod
    def fit(
        cls, states_RW: torch.Tensor, labels_R: torch.Tensor, num_classes: int, decay: float = 1e-3
    ) -> "LinearProbe":
        """Fitted to all rows by L-BFGS; `decay` is the factor of half the weights' sum of squares, per row.

        Deterministic: it begins at zero and draws nothing.
        """
        mean_W, scale_W = states_RW.mean(0), states_RW.std(0).clamp(min=1e-6)
        inputs_RW = (states_RW - mean_W) / scale_W
        weight_CW = torch.zeros(num_classes, states_RW.shape[1], requires_grad=True)
        bias_C = torch.zeros(num_classes, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight_CW, bias_C], max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
        )

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            error = nn.functional.cross_entropy(nn.functional.linear(inputs_RW, weight_CW, bias_C), labels_R)
            total = error + 0.5 * decay * weight_CW.square().sum()
            total.backward()
            return total

        with torch.enable_grad():
            optimizer.step(loss)
        return cls(mean_W, scale_W, weight_CW.detach(), bias_C.detach())

    def predict(self, states_RW: torch.Tensor) -> torch.Tensor:
        """The likeliest class of each row, [R] int64."""
        inputs_RW = (states_RW - self.mean_W) / self.scale_W
        return nn.functional.linear(inputs_RW, self.weight_CW, self.bias_C).argmax(-1)

    def accuracy(self, states_RW: torch.Tensor, labels_R: torch.Tensor) -> float:
        """The share of rows whose likeliest class is their label."""
        return float((self.predict(states_RW) == labels_R).float().mean())
