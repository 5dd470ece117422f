"""Matrix factorization."""

from __future__ import annotations

from torch import Tensor, nn

from pintsize.lab.recommenders._tables import drawn, every_row, some_rows
from pintsize.lab.training.ranking import RankingModel

__all__ = ["BprMf"]


class BprMf(RankingModel):
    """A vector a user and a vector an item; trained by ``RankingTask(ranking="bpr")`` (Rendle et al. 2009).

    Args:
        user_embedding: (num_users) rows of d columns: ``nn.Embedding``, or what `pintsize.swap` puts there.
        item_embedding: (num_items) rows of d columns.
    """

    def __init__(self, user_embedding: nn.Module, item_embedding: nn.Module) -> None:
        super().__init__()
        self.user_embedding, self.item_embedding = user_embedding, item_embedding

    @classmethod
    def of(cls, num_users: int, num_items: int, embedding_dim: int = 64, deviation: float = 0.1) -> BprMf:
        """With ``nn.Embedding`` tables, drawn from a normal distribution."""
        return cls(drawn(num_users, embedding_dim, deviation), drawn(num_items, embedding_dim, deviation))

    def vectors(self) -> tuple[Tensor, Tensor]:
        return every_row(self.user_embedding), every_row(self.item_embedding)

    def batch(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return some_rows(self.user_embedding, users), some_rows(self.item_embedding, items)

    def learned(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return self.batch(users, items)
