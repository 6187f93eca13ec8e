"""Lion: the sign of a mean of gradients, one moment instead of two (Chen et al. 2023, arXiv:2302.06675, Algorithm 2).

    update   = sign(beta1 x mean + (1 - beta1) x gradient)
    weights  = weights - rate x (update + decay x weights)
    mean     = beta2 x mean + (1 - beta2) x gradient

Element by element, so a flat partition of ZeRO is stepped as the parameters in it would be. Every weight moves by the
whole rate: the paper takes a rate 3 to 10 times below AdamW's, and a decay as many times above (section 5).
"""

from collections.abc import Mapping
from typing import Any

import torch

from pipeline.training.optimizers.flat import first_state, update_each


class Lion(torch.optim.Optimizer):
    """Over parameters or flat tensors; options by group: lr, betas, weight_decay."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of everything that has a gradient."""
        assert closure is None, "nobody computes the loss again here"
        update_each(self.param_groups, self._update)

    def _update(self, parameter: torch.Tensor, group: Mapping[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state.update(first_state(parameter, ("exp_avg",)))
        update = state["exp_avg"].lerp(parameter.grad, 1.0 - beta1).sign_()
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
        state["exp_avg"].lerp_(parameter.grad, 1.0 - beta2)
        state["step"] += 1
