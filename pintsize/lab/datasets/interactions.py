"""Who met what: the form that every data set of interactions is brought to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError, require

__all__ = ["Interactions", "Split", "leave_last", "random_split"]


@dataclass(frozen=True)
class Interactions:
    """Pairs of users and items, both numbered from 0.

    Attributes:
        users: (pairs) int32.
        items: (pairs) int32.
        num_users: Users there are, with or without pairs.
        num_items: Items there are.

    Raises:
        TableError: The arrays differ in length, or a number is out of range.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    num_users: int
    num_items: int

    def __post_init__(self) -> None:
        if self.users.shape != self.items.shape or self.users.ndim != 1:
            raise TableError(
                f"users and items must be one-dimensional and of one length; "
                f"found {self.users.shape} and {self.items.shape}"
            )
        for what, rows, limit in (("user", self.users, self.num_users), ("item", self.items, self.num_items)):
            if len(rows) and (rows.min() < 0 or rows.max() >= limit):
                raise TableError(f"{what} numbers must lie in [0, {limit}); found {rows.min()} to {rows.max()}")

    def __len__(self) -> int:
        return len(self.users)

    def pick(self, chosen: NDArray[Any]) -> Interactions:
        """The chosen pairs (a mask or positions), among the same users and items."""
        return Interactions(self.users[chosen], self.items[chosen], self.num_users, self.num_items)

    def matrix(self) -> Any:
        """(num_users, num_items) scipy CSR matrix of float32 ones, indices ascending, each pair once."""
        sparse = require("scipy.sparse", "lab")
        ones = np.ones(len(self), np.float32)
        matrix = sparse.csr_matrix((ones, (self.users, self.items)), shape=(self.num_users, self.num_items))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        matrix.sort_indices()
        return matrix


@dataclass(frozen=True)
class Split:
    """Interactions to learn from and others to be judged on, among the same users and items."""

    train: Interactions
    test: Interactions


def random_split(pairs: Interactions, *, share: float = 0.2, seed: int = 0) -> Split:
    """Put each pair into the test part with probability `share`.

    Raises:
        TableError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise TableError(f"share must lie between 0 and 1; found {share}")
    held = np.random.default_rng(seed).random(len(pairs)) < share
    return Split(pairs.pick(~held), pairs.pick(held))


def leave_last(pairs: Interactions, times: NDArray[Any]) -> Split:
    """Put each user's last pair into the test part; of equal times, the later in the data.

    Args:
        pairs: The interactions.
        times: (pairs) when each took place.

    Raises:
        TableError: There is not one time a pair.
    """
    if len(times) != len(pairs):
        raise TableError(f"expected {len(pairs)} times, one a pair; found {len(times)}")
    order = np.lexsort((np.arange(len(pairs)), times, pairs.users))
    last = np.ones(len(order), bool)
    last[:-1] = pairs.users[order][1:] != pairs.users[order][:-1]
    held = np.zeros(len(pairs), bool)
    held[order[last]] = True
    return Split(pairs.pick(~held), pairs.pick(held))
