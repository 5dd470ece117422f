"""What is learned: batches, their loss, and how the model is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

__all__ = ["Task"]


class Task(ABC):
    """Batches that are a function of seed, epoch and step alone: a run that was cut goes on as it would have."""

    metric: ClassVar[str]
    """The figure of `evaluate` by which epochs are compared; more is better."""

    @abstractmethod
    def steps(self) -> int:
        """Batches of an epoch."""

    @abstractmethod
    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Draws the order of an epoch (from 0), whatever was drawn before."""

    @abstractmethod
    def loss(self, model: nn.Module, step: int) -> Tensor:
        """The loss of batch `step` of the epoch that was begun."""

    @abstractmethod
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures on the validation part, `metric` among them; empty without one."""

    def search_loss(self, model: nn.Module, step: int) -> Tensor:
        """The loss of a validation batch, for the second parameter group of bilevel methods.

        Raises:
            NotImplementedError: This task has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no validation batches: methods that search need them")
