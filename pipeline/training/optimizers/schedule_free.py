"""AdamW without a schedule: an average of the steps takes the place of a decay to 0, and a run may end at any step.

    gradient is taken at y, what training reads   y = (1 - beta1) x z + beta1 x x
    z = z - rate x (gradient / (sqrt(mean of squares) + eps) + decay x y)
    x = (1 - c) x x + c x z,  c = rate^2 / sum of rate^2 so far: what is evaluated, saved as the weights, and exported

Defazio et al. 2024, "The Road Less Scheduled" (arXiv:2405.15682), Algorithm 1; rates rise to one that stays. Their
package `schedulefree` keeps y and z and finds x where it is asked; here x and z are kept and y is found after every
step, so that a checkpoint of x, z and the mean of squares has all of it to the bit.

Element by element: a flat partition of ZeRO is stepped as the parameters in it would be.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.training.optimizers.flat import first_state, update_each


class ScheduleFreeAdamW(torch.optim.Optimizer):
    """Over parameters or flat tensors, which hold y; options by group: lr, betas, eps, weight_decay."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of everything that has a gradient."""
        assert closure is None, "nobody computes the loss again here"
        update_each(self.param_groups, self._update)

    def _update(self, parameter: Tensor, group: Mapping[str, Any]) -> None:
        state, (beta1, beta2), rate = self.state[parameter], group["betas"], group["lr"]
        if not state:
            state.update(first_state(parameter, ("average", "z", "exp_avg_sq")))
        state["step"] += 1
        squares, gradient = state["exp_avg_sq"], parameter.grad
        assert gradient is not None
        squares.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        divisor = squares.div(1.0 - beta2 ** float(state["step"])).sqrt_().add_(group["eps"])
        update = torch.div(gradient, divisor, out=divisor).add_(parameter, alpha=group["weight_decay"])
        state["z"].add_(update, alpha=-rate)
        if rate:
            state["weight_sum"] += rate**2
            state["average"].lerp_(state["z"], rate**2 / float(state["weight_sum"]))
        self._combine(parameter, beta1)

    def _combine(self, parameter: Tensor, beta1: float) -> None:
        parameter.copy_(torch.lerp(self.state[parameter]["z"], self.state[parameter]["average"], beta1))

    @torch.no_grad()
    def combine(self) -> None:
        """Let every tensor be what its average and z make it."""
        for parameter in self.state:
            self._combine(parameter, self.defaults["betas"][0])

    @torch.no_grad()
    def swap(self) -> None:
        """Let every tensor and its average change places."""
        for parameter, state in self.state.items():
            before = parameter.clone()
            parameter.copy_(state["average"])
            state["average"].copy_(before)
