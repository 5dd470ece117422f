"""What a method is: a value that can be quoted, and the step from a table to a compressed one."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pintsize.arrays import Array
from pintsize.errors import MethodError, TableError
from pintsize.formats.base import CompressedTable
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from pintsize.methods.trainable import TrainableEmbedding

__all__ = [
    "Allocate",
    "Encoder",
    "Family",
    "Method",
    "PairMethod",
    "Places",
    "PostTraining",
    "Progress",
    "TrainTime",
    "Traits",
    "WholeTable",
    "assemble",
    "encode_table",
    "one_of",
]

Family = Literal["full", "quantization", "codebooks", "decomposition", "dimension", "sharing", "partition", "pair"]

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


class Places(Protocol):
    """Where arrays of a table are written: ``places[name][start:stop] = rows`` and ``places[name][...] = array``."""

    def __getitem__(self, name: str, /) -> Any: ...

    def finish(self) -> Mapping[str, Array]:
        """The arrays, all written."""


Allocate = Callable[[dict[str, tuple[tuple[int, ...], np.dtype[Any]]]], Places]
"""From names to (shape, dtype): somewhere to write the arrays."""


@dataclass(frozen=True)
class Traits:
    """What the contract suite and the docs need to know of a method.

    Args:
        tolerance: Largest relative difference of what is served from what was fitted or trained, in the norm of a row.
        by_rows: Rows are encoded one by one: streams, patches and new rows work.
        needs_counts: The table must say how often each row is used.
        deterministic: The same seed gives the same bytes.
        extra: The extra of this package that the method needs, if one.
        small_while_training: Parameters, buffers, gradients and optimizer state stay below half of a float table.
    """

    tolerance: float = 1e-5
    by_rows: bool = True
    needs_counts: bool = False
    deterministic: bool = True
    extra: str | None = None
    small_while_training: bool = False


class Method(BaseModel, ABC):
    """A method and its settings: immutable, hashable, JSON-able, and written as ``name:field=value,field=value``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    family: ClassVar[Family]
    paper: ClassVar[str]
    examples: ClassVar[tuple[dict[str, Any], ...]]
    traits: ClassVar[Traits]

    def __str__(self) -> str:
        from pintsize.methods.spec import written

        return written(self)


class Encoder(ABC):
    """What was learned (codebooks, rotation, scales), apart from the rows."""

    @abstractmethod
    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        """The (n, embedding_dim) float32 rows as a table of n rows; n may be 0."""


class PostTraining(Method):
    """Compresses a table that is already trained."""

    @abstractmethod
    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        """What the rows teach: from a pass or a sample, in bounded memory where `traits.by_rows`."""

    def compress(
        self,
        table: EmbeddingTable,
        *,
        seed: int = 0,
        allocate: Allocate | None = None,
        progress: Progress | None = None,
    ) -> CompressedTable:
        """Fits, then encodes chunk by chunk.

        Args:
            table: What to compress; never changed.
            seed: The same seed gives the same bytes.
            allocate: Where the rows go; main memory by default.
            progress: Called as rows are done.

        Raises:
            TableError: A row that is not finite; nothing is written.
            MethodError: The method cannot be applied to this table.
        """
        return encode_table(self.fit(table, seed=seed), table, allocate=allocate, progress=progress)


class WholeTable(PostTraining):
    """Compresses a table in one step: no row can be encoded without the others."""

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        raise MethodError(f"{self} looks at all rows at once and has no encoder; use compress")


class PairMethod(Method):
    """Compresses two tables that meet in inner products."""

    @abstractmethod
    def compress_pair(
        self, left: EmbeddingTable, right: EmbeddingTable, *, seed: int = 0, progress: Progress | None = None
    ) -> tuple[CompressedTable, CompressedTable]:
        """Tables whose inner products rank as those of `left` (users) and `right` (items) do."""


class TrainTime(Method):
    """Learns a table in its compressed form, inside a model that is being trained."""

    @abstractmethod
    def build(
        self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None
    ) -> TrainableEmbedding:
        """A drop-in for ``nn.Embedding(num_embeddings, embedding_dim)``; torch's seed decides what is drawn.

        Args:
            num_embeddings: Rows.
            embedding_dim: Columns.
            counts: (num_embeddings,) how often each row is used; some methods need it (`traits.needs_counts`).

        Raises:
            MethodError: The settings do not fit this shape, or counts are missing.
        """


def encode_table(
    encoder: Encoder, table: EmbeddingTable, *, allocate: Allocate | None = None, progress: Progress | None = None
) -> CompressedTable:
    """The second half of `PostTraining.compress`: every row of the table, chunk by chunk, by a fitted encoder."""
    return assemble(_encoded(encoder, table, progress), table.num_embeddings, allocate)


def _encoded(encoder: Encoder, table: EmbeddingTable, progress: Progress | None) -> Iterator[CompressedTable]:
    if table.num_embeddings == 0:
        yield encoder.encode(np.empty((0, table.embedding_dim), np.float32))
    for start, rows in table.chunks():
        part = encoder.encode(rows)
        if progress is not None:
            progress(start + len(rows), table.num_embeddings)
        yield part


class _InMemory(dict[str, NDArray[Any]]):
    def finish(self) -> Mapping[str, Array]:
        return self


def in_memory(wanted: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> Places:
    """Allocates NumPy arrays."""
    return _InMemory({name: np.empty(shape, dtype) for name, (shape, dtype) in wanted.items()})


def assemble(
    parts: Iterable[CompressedTable], num_embeddings: int, allocate: Allocate | None = None
) -> CompressedTable:
    """Puts encoded chunks together: straight into their final place where the format allows it.

    Args:
        parts: Chunks in row order, from one encoder.
        num_embeddings: Rows of all chunks together.
        allocate: Where the arrays of the result go; main memory by default.
    """
    parts = iter(parts)
    first = next(parts)
    if not first.streams:
        return type(first).concat([first, *parts])
    if first.num_embeddings == num_embeddings and allocate is None:
        return first
    tensors, rows = first.tensors(), first.row_tensors()
    shapes = {
        name: ((num_embeddings, *a.shape[1:]) if name in rows else a.shape, a.dtype) for name, a in tensors.items()
    }
    final = (allocate or in_memory)(shapes)
    for name in tensors.keys() - rows:
        final[name][...] = tensors[name]
    done = 0
    for part in itertools.chain([first], parts):
        own = part.tensors()
        for name in rows:
            final[name][done : done + part.num_embeddings] = own[name]
        done += part.num_embeddings
    if done != num_embeddings:
        raise TableError(f"{num_embeddings} rows were announced and {done} came: the table changed while it was read")
    return first.from_tensors(first.header(), final.finish())


def one_of(**choices: Any) -> None:
    """Raises MethodError unless exactly one of the named fields is set."""
    given = [name for name, value in choices.items() if value is not None]
    if len(given) != 1:
        raise MethodError(f"give exactly one of {', '.join(choices)}; found {', '.join(given) or 'none'}")
