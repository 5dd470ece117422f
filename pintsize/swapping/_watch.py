"""Notices a training loop that forgets `after_step`."""

from __future__ import annotations

import warnings

from torch import Tensor

__all__ = ["PASSES", "Watch"]

PASSES = 100
"""Backward passes without a step that are still taken for gradients that accumulate."""


class Watch:
    """Counts backward passes since the last step, and warns once."""

    def __init__(self) -> None:
        self._passes = 0
        self._pending = False
        self._warned = False

    def forward(self, result: Tensor) -> None:
        """A table was read in training mode; its gradient will come by here."""
        if result.requires_grad and not self._warned:
            self._pending = True
            result.register_hook(self._backward)  # type: ignore[no-untyped-call]

    def stepped(self) -> None:
        """`after_step` was called."""
        self._passes = 0

    def _backward(self, gradient: Tensor) -> None:
        # Several tables, or several readings of one, are one pass.
        if self._pending:
            self._pending = False
            self._passes += 1
        if self._passes >= PASSES and not self._warned:
            self._warned = True
            warnings.warn(
                f"{PASSES} backward passes and no after_step: a method in this model has a schedule that stands still; "
                "call after_step of what pintsize.swap returned after each step of the optimizer",
                stacklevel=2,
            )
