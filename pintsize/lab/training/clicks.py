"""Learning to predict clicks."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from pintsize.errors import MethodError
from pintsize.evaluation.clicks import auc, logloss
from pintsize.lab.datasets.clicks import Clicks
from pintsize.lab.training.task import Task

__all__ = ["ClickTask", "predict"]


class ClickTask(Task):
    """Binary cross-entropy on batches of impressions in random order; judged by AUC.

    Args:
        training: What is learned from.
        validation: What epochs are compared on, and what bilevel methods search on; None for neither.
        batch_size: Impressions a batch.
        device: Where batches go.
    """

    metric: ClassVar[str] = "auc"

    def __init__(
        self,
        training: Clicks,
        validation: Clicks | None = None,
        *,
        batch_size: int = 1024,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(len(training), batch_size, device)
        self.training, self.validation = training, validation

    def loss(self, model: nn.Module, step: int) -> Tensor:
        return self._loss(model, self.training, self.examples(step))

    def search_loss(self, model: nn.Module, step: int) -> Tensor:
        if self.validation is None or not len(self.validation):
            raise MethodError("methods that search need a validation part")
        drawn = self.draws(step).integers(0, len(self.validation), self.batch_size)
        return self._loss(model, self.validation, drawn)

    def _loss(self, model: nn.Module, clicks: Clicks, chosen: np.ndarray) -> Tensor:
        fields = torch.from_numpy(clicks.fields[chosen]).to(self.device, torch.int64)
        numbers = torch.from_numpy(clicks.numbers[chosen]).to(self.device)
        labels = torch.from_numpy(clicks.labels[chosen]).to(self.device, torch.float32)
        return nn.functional.binary_cross_entropy_with_logits(model(fields, numbers), labels)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        if self.validation is None:
            return {}
        scores = predict(model, self.validation, device=self.device)
        return {
            "auc": auc(self.validation.labels, scores),
            "logloss": logloss(self.validation.labels, _sigmoid(scores)),
        }


def predict(
    model: nn.Module, clicks: Clicks, *, batch_size: int = 65_536, device: torch.device | str = "cpu"
) -> np.ndarray:
    """(n) float32 logits of a model in evaluation mode."""
    model.eval()
    scores = np.empty(len(clicks), np.float32)
    with torch.no_grad():
        for start in range(0, len(clicks), batch_size):
            part = slice(start, start + batch_size)
            fields = torch.from_numpy(clicks.fields[part]).to(device, torch.int64)
            numbers = torch.from_numpy(np.ascontiguousarray(clicks.numbers[part])).to(device)
            scores[part] = model(fields, numbers).float().cpu().numpy()
    return scores


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-scores.astype(np.float64))))
