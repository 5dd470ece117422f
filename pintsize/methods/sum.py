"""One method after another: ``svd:rank=32 + integer:bits=4``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, InstanceOf

from pintsize.arrays import to_numpy
from pintsize.errors import MethodError
from pintsize.formats.base import CompressedTable
from pintsize.methods.base import Allocate, Family, PostTraining, Progress, Traits, WholeTable
from pintsize.table import EmbeddingTable

__all__ = ["Sum"]


class Sum(WholeTable):
    """The float parts of what each method made are compressed by the next.

    Float parts are the `DenseTable`s inside a format: the factors of a decomposition, the kept values of a sparse
    table, the blocks of a partition.
    """

    name: ClassVar[str] = "sum"
    family: ClassVar[Family] = "decomposition"
    paper: ClassVar[str] = "composition"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()
    traits: ClassVar[Traits] = Traits(by_rows=False)

    parts: Annotated[tuple[InstanceOf[PostTraining], ...], Field(min_length=2)]

    def compress(
        self,
        table: EmbeddingTable,
        *,
        seed: int = 0,
        allocate: Allocate | None = None,
        progress: Progress | None = None,
    ) -> CompressedTable:
        first, *rest = self.parts
        result = first.compress(table, seed=seed, progress=progress)
        for method in rest:
            before = result
            result = before.map_parts(lambda part, m=method: m.compress(_floats(part), seed=seed))  # type: ignore[misc]
            if result is before or result.header() == before.header():
                raise MethodError(f"{self}: what comes before {str(method)!r} leaves no float part to compress")
        return result


def _floats(part: CompressedTable) -> EmbeddingTable:
    rows: NDArray[np.float32] = to_numpy(part.lookup(np.arange(part.num_embeddings)))
    return EmbeddingTable(rows)
