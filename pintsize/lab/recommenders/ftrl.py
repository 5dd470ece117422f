"""FTRL-proximal, the optimizer of large sparse linear models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from pintsize.errors import MethodError

__all__ = ["Ftrl"]


class Ftrl(torch.optim.Optimizer):
    """Per-coordinate FTRL-proximal with L1 and L2 terms (McMahan et al. 2013, algorithm 1).

    ``z += g - (sqrt(n + g^2) - sqrt(n)) / alpha w``, ``n += g^2``, and ``w = 0`` where ``|z| <= l1``, else
    ``-(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)``. A coordinate whose gradient is zero does not move. Weights
    that are not zero at the start begin from there: z is set so that they are the minimum.

    Args:
        params: Parameters, or groups of them.
        lr: alpha.
        beta: Smooths the first steps.
        l1: Sends weights to zero.
        l2: Keeps them small.

    Raises:
        MethodError: A setting out of range.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 0.1, *, beta: float = 1.0, l1: float = 0.0, l2: float = 0.0
    ) -> None:
        if not lr > 0 or not beta >= 0 or not l1 >= 0 or not l2 >= 0:
            raise MethodError(f"lr is above 0, beta, l1 and l2 are 0 or more; found {lr}, {beta}, {l1}, {l2}")
        super().__init__(params, {"lr": lr, "beta": beta, "l1": l1, "l2": l2})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for every parameter with a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._descend(weight, weight.grad, group)
        return loss

    def _descend(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["n"] = torch.zeros_like(weight)
            # The weight is the minimum for this z, wherever it starts.
            state["z"] = -weight * (group["beta"] / group["lr"] + group["l2"]) - weight.sign() * group["l1"]
        n, z = state["n"], state["z"]
        grown = n + gradient.square()
        z += gradient - (grown.sqrt() - n.sqrt()) / group["lr"] * weight
        n.copy_(grown)
        slope = (group["beta"] + n.sqrt()) / group["lr"] + group["l2"]
        moved = torch.where(z.abs() <= group["l1"], 0.0, -(z - z.sign() * group["l1"]) / slope)
        weight.copy_(torch.where(gradient != 0, moved, weight))
