"""What is learned: batches, their loss, and how the model is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pintsize.errors import MethodError

__all__ = ["Task"]


class Task(ABC):
    """Batches that are a function of seed, epoch and step alone: a run that was cut goes on as it would have.

    Args:
        size: Examples of the training part.
        batch_size: Examples a batch; the last batch of an epoch may be smaller.
        device: Where batches go.

    Raises:
        MethodError: `batch_size` is below 1.
    """

    metric: ClassVar[str]
    """The figure of `evaluate` by which epochs are compared; more is better."""

    def __init__(self, size: int, batch_size: int, device: torch.device | str) -> None:
        if batch_size < 1:
            raise MethodError(f"batch_size is 1 or more; found {batch_size}")
        self.size, self.batch_size, self.device = size, batch_size, device
        self.order = np.empty(0, np.int64)
        self.place = (0, 0)

    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.size // self.batch_size)

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Draws the order of an epoch (from 0), whatever was drawn before."""
        self.place = (seed, epoch)
        self.order = np.random.default_rng((seed, epoch)).permutation(self.size)

    def examples(self, step: int) -> NDArray[np.int64]:
        """Which examples batch `step` of the epoch that was begun consists of."""
        return self.order[step * self.batch_size : (step + 1) * self.batch_size]

    def draws(self, step: int) -> np.random.Generator:
        """What batch `step` of the epoch that was begun samples by."""
        return np.random.default_rng((*self.place, step))

    @abstractmethod
    def loss(self, model: nn.Module, step: int) -> Tensor:
        """The loss of batch `step` of the epoch that was begun."""

    @abstractmethod
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures on the validation part, `metric` among them; empty without one."""

    def search_loss(self, model: nn.Module, step: int) -> Tensor:
        """The loss of a validation batch, for the second parameter group of bilevel methods.

        Raises:
            MethodError: The task has no validation batches.
        """
        raise MethodError(f"{type(self).__name__} has no validation batches: methods that search need them")
