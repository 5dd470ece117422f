"""What a ratio leaves to spend, and the largest size that it buys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias

from pydantic import Field

from pintsize.errors import MethodError
from pintsize.table import EmbeddingTable

__all__ = ["Ratio", "budget", "factored_rank", "largest"]

Ratio: TypeAlias = Annotated[float, Field(ge=1, description="Times smaller than float32, every byte counted.")]


def budget(table: EmbeddingTable, ratio: float) -> int:
    """Bytes that a table `ratio` times smaller than float32 may take."""
    return int(table.nbytes_float32 / ratio)


def largest(field: str, limit: int, nbytes: Callable[[int], int], table: EmbeddingTable, ratio: float) -> int:
    """The largest size 1..limit of which the table keeps within its budget.

    Args:
        field: What the size is called, for the message.
        limit: The largest size that makes sense for this table.
        nbytes: Bytes of the whole compressed table by size; it need not rise everywhere.
        table: What is compressed.
        ratio: Times smaller than float32.

    Raises:
        MethodError: Not even the smallest table fits.
    """
    most = budget(table, ratio)
    sizes = {size: nbytes(size) for size in range(1, limit + 1)}
    fitting = [size for size, taken in sizes.items() if taken <= most]
    if not fitting:
        raise MethodError(
            f"ratio={ratio:g} leaves {most} bytes for {table.num_embeddings} rows of {table.embedding_dim} columns; "
            f"the smallest table of this method, by {field}, takes {min(sizes.values(), default=0)}"
        )
    return max(fitting)


def factored_rank(table: EmbeddingTable, rank: int | None, ratio: float | None, nbytes: Callable[[int], int]) -> int:
    """The rank that is asked for, or the largest within the ratio.

    Raises:
        MethodError: The rank passes the table's own, or no rank fits the ratio.
    """
    limit = min(table.num_embeddings, table.embedding_dim)
    if rank is not None and rank <= limit:
        return rank
    if rank is not None or limit == 0:
        raise MethodError(
            f"a table of {table.num_embeddings} rows and {table.embedding_dim} columns has a rank of at most {limit}; "
            + (f"rank={rank} was asked for" if rank is not None else "there is nothing to factor")
        )
    if ratio is None:
        raise MethodError("a rank or a ratio is needed")
    return largest("rank", limit, nbytes, table, ratio)
