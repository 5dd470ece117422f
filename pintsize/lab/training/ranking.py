"""Learning to rank items for users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pintsize.errors import MethodError
from pintsize.evaluation.ranking import ranking_metrics
from pintsize.lab.datasets.interactions import Interactions
from pintsize.lab.training._softmax import batch_softmax
from pintsize.lab.training.task import Task

__all__ = ["RankingModel", "RankingTask"]


class RankingModel(nn.Module, ABC):
    """Users and items as vectors whose inner products rank."""

    @abstractmethod
    def vectors(self) -> tuple[Tensor, Tensor]:
        """(num_users, d) and (num_items, d): all of them, differentiable."""

    def batch(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of some users and of some items; models that need not compute all of them override it."""
        every_user, every_item = self.vectors()
        return nn.functional.embedding(users, every_user), nn.functional.embedding(items, every_item)

    def margins(self, users: Tensor, above: Tensor, below: Tensor) -> Tensor:
        """(b) scores of items that users have met, less those of items that they have not."""
        of_users, of_items = self.batch(users, torch.cat([above, below]))
        return (of_users * (of_items[: len(users)] - of_items[len(users) :])).sum(dim=1)

    @abstractmethod
    def learned(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that are learned for these users and items, before any propagation: what decay keeps small."""


class RankingTask(Task):
    """Batches of observed pairs in random order, by one of two losses; judged by Recall@k under full ranking.

    ``bpr`` (Rendle et al. 2009): ``softplus(s_un - s_up)`` against one item n that the user has not met, drawn
    uniformly. ``softmax``: cross-entropy of the pair's item among the distinct items of the batch, scores being the
    inner products of users of length 1 with items over `temperature`, less the logarithm of how often the item occurs
    in training: items come into a batch that often, and would be pushed down for it (Yi et al. 2019, RecSys).
    Other items that the user has met are left out.

    Args:
        training: What is learned from.
        validation: What epochs are compared on; None for nothing.
        batch_size: Pairs a batch.
        ranking: The loss.
        temperature: Divides the scores of ``softmax``.
        decay: Factor of the squared length of the rows of a batch, a pair: ``decay / (2 batch) sum |e|^2``.
        k: Length of the lists that are judged.
        device: Where batches go.
    """

    metric: ClassVar[str] = "recall"

    def __init__(
        self,
        training: Interactions,
        validation: Interactions | None = None,
        *,
        batch_size: int = 2048,
        ranking: Literal["bpr", "softmax"] = "bpr",
        temperature: float = 0.1,
        decay: float = 1e-4,
        k: int = 20,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(len(training), batch_size, device)
        if k < 1 or not temperature > 0 or not decay >= 0:
            raise MethodError(
                f"k is 1 or more, temperature above 0, decay 0 or more; found {k}, {temperature} and {decay}"
            )
        if ranking not in ("bpr", "softmax"):
            raise MethodError(f"ranking is 'bpr' or 'softmax'; found {ranking!r}")
        self.training, self.validation = training, validation
        self.ranking, self.k = ranking, k
        self.temperature, self.decay = temperature, decay
        self.met = training.matrix()
        # One sorted list of pairs answers "has this user met this item" for a batch at once.
        rows = np.repeat(np.arange(training.num_users, dtype=np.int64), np.diff(self.met.indptr))
        self.keys = rows * training.num_items + self.met.indices
        counts = np.bincount(training.items, minlength=training.num_items)
        self.log_counts = np.log(np.maximum(counts, 1)).astype(np.float32)

    def loss(self, model: nn.Module, step: int) -> Tensor:
        if not isinstance(model, RankingModel):
            raise MethodError(f"a RankingModel is needed; found {type(model).__name__}")
        chosen = self.examples(step)
        users, items = self.training.users[chosen].astype(np.int64), self.training.items[chosen].astype(np.int64)
        if self.ranking == "bpr":
            return self._bpr(model, users, items, self.unmet(users, step))
        return self._softmax(model, users, items)

    def has_met(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether each user has met each item (both broadcast)."""
        asked = users * self.training.num_items + items
        place = np.minimum(np.searchsorted(self.keys, asked), len(self.keys) - 1)
        return np.asarray(self.keys[place] == asked)

    def unmet(self, users: np.ndarray, step: int) -> np.ndarray:
        """For each user an item that they have not met, drawn uniformly for this step of the epoch that was begun."""
        rng = self.draws(step)
        drawn = rng.integers(0, self.training.num_items, len(users))
        again = np.flatnonzero(self.has_met(users, drawn))
        for _ in range(100):  # a user who has met everything keeps what was drawn last
            if not len(again):
                break
            drawn[again] = rng.integers(0, self.training.num_items, len(again))
            again = again[self.has_met(users[again], drawn[again])]
        return drawn

    def _decayed(self, model: RankingModel, users: Tensor, items: Tensor, pairs: int) -> Tensor:
        if not self.decay:
            return torch.zeros((), device=users.device)
        of_users, of_items = model.learned(users, items)
        return self.decay / (2 * pairs) * (of_users.square().sum() + of_items.square().sum())

    def _bpr(self, model: RankingModel, users: np.ndarray, items: np.ndarray, unmet: np.ndarray) -> Tensor:
        asked, above, below = (torch.from_numpy(part).to(self.device) for part in (users, items, unmet))
        margins = model.margins(asked, above, below)
        return nn.functional.softplus(-margins).mean() + self._decayed(
            model, asked, torch.cat([above, below]), len(users)
        )

    def _softmax(self, model: RankingModel, users: np.ndarray, items: np.ndarray) -> Tensor:
        distinct, target = np.unique(items, return_inverse=True)
        known = self.met[users][:, distinct]
        owner = np.repeat(np.arange(len(users)), np.diff(known.indptr))
        other = target[owner] != known.indices
        asked, chosen, wanted, rows, columns = (
            torch.from_numpy(part.astype(np.int64)).to(self.device)
            for part in (users, distinct, target, owner[other], known.indices[other])
        )
        of_users, of_items = model.batch(asked, chosen)
        queries = nn.functional.normalize(of_users, dim=1) / self.temperature
        queries = torch.cat([queries, queries.new_ones(len(queries), 1)], dim=1)
        often = torch.from_numpy(self.log_counts[distinct]).to(of_items)
        of_items = torch.cat([of_items, -often[:, None]], dim=1)
        return batch_softmax(queries, of_items, wanted, rows, columns) + self._decayed(model, asked, chosen, len(users))

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        if self.validation is None:
            return {}
        if not isinstance(model, RankingModel):
            raise MethodError(f"a RankingModel is needed; found {type(model).__name__}")
        users, items = (vectors.detach().float().cpu().numpy() for vectors in model.vectors())
        test = self.validation.matrix()
        found = ranking_metrics(
            users, items, (test.indptr, test.indices), exclude=(self.met.indptr, self.met.indices), k=self.k
        )
        return {"recall": found.recall.mean, "ndcg": found.ndcg.mean}
