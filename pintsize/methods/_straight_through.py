"""Steps without a useful derivative, and the gradients that stand in for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["TINY", "floored", "learned_step", "mean_magnitude", "sign", "through", "to_half"]

TINY = 1e-30
"""The least scale that anything is divided by."""


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, soft: Tensor, hard: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def through(soft: Tensor, hard: Tensor) -> Tensor:
    """The value of `hard`, to the bit, with the gradient of `soft`; both of one shape."""
    return _Through.apply(soft, hard)  # type: ignore[no-any-return,no-untyped-call]


def to_half(scales: Tensor) -> Tensor:
    """Float32 rounded to the 11 bits of a float16, whatever the exponent; the gradient passes.

    Tables store scales as float16 in a unit of their own, a power of two, so that only the bits matter here.
    """
    with torch.no_grad():
        mantissa, exponent = torch.frexp(scales)
        rounded = torch.ldexp(mantissa.half().float(), exponent)
    return through(scales, rounded)


def mean_magnitude(rows: Tensor) -> Tensor:
    """(n, 1) float32: the mean of |x| over each of (n, d) rows.

    Summed in float64: sums in float32 differ with their order, which is enough to cross a border of float16.
    """
    return rows.abs().mean(dim=1, keepdim=True, dtype=torch.float64).float()


def sign(values: Tensor, clip: float | None = None) -> Tensor:
    """1 where a value is 0 or more, else -1; the gradient is that of the identity, zero beyond `clip`."""
    soft = values if clip is None else values.clamp(-clip, clip)
    return through(soft, torch.where(values.detach() >= 0, 1.0, -1.0).to(values.dtype))


def floored(step: Tensor, values: Tensor, high: Tensor) -> Tensor:
    """Steps as they are used and stored: float16, and at least half the mean magnitude of their values over `high`.

    An optimizer of fixed stride takes small steps to zero or below in a few updates. The gradient passes the floor, so
    that it leads back.

    Args:
        step: (..., 1) float32.
        values: (..., group) float32: what the step is for.
        high: The highest level; broadcasts to `step`.
    """
    values = values.detach()
    mean = values.abs().mean(dim=-1, keepdim=True, dtype=torch.float64).float()
    least = (mean / (2 * high)).clamp_min(TINY)
    return to_half(through(step, torch.maximum(step.detach(), least)))


class _LearnedStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, step: Tensor, low: Tensor, high: Tensor, spacing: Tensor, damping: Tensor
    ) -> Tensor:
        ratio = values / step
        levels = _nearest_level(ratio, low, high, spacing)
        ctx.save_for_backward(ratio, levels, low, high, damping)
        return levels * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        ratio, levels, low, high, damping = ctx.saved_tensors
        inside = (ratio >= low) & (ratio <= high)
        slope = torch.where(inside, levels - ratio, levels)
        steps = (gradient * slope).sum(dim=-1, keepdim=True) * damping
        return gradient * inside, steps, None, None, None, None


def _nearest_level(ratio: Tensor, low: Tensor, high: Tensor, spacing: Tensor) -> Tensor:
    clipped = torch.minimum(torch.maximum(ratio, low), high)
    return low + spacing * torch.floor((clipped - low) / spacing + 0.5)


def learned_step(values: Tensor, step: Tensor, low: Tensor, high: Tensor, spacing: Tensor, damping: Tensor) -> Tensor:
    """The nearest level times the step: LSQ (Esser et al. 2020, eqs. 1 to 3).

    With ``q`` the level of ``x / s``: the gradient of x is 1 for ``low <= x / s <= high`` and 0 elsewhere; that of s is
    ``q - x / s`` there and ``low`` or ``high`` elsewhere, summed over the values that share it and times `damping`.

    Args:
        values: (..., group) float32.
        step: (..., 1) positive float32.
        low: The lowest level; broadcasts to `step`, as all that follows.
        high: The highest level.
        spacing: Between levels.
        damping: The factor of the step's gradient.
    """
    return _LearnedStep.apply(values, step, low, high, spacing, damping)  # type: ignore[no-any-return,no-untyped-call]
