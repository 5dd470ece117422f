"""No compression, or only the float type's: what the others are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import TableError
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable, bfloat16_bits
from pintsize.methods.base import Encoder, Family, PostTraining, TrainTime, Traits
from pintsize.table import EmbeddingTable

if TYPE_CHECKING:
    from pintsize.methods.trainable import TrainableEmbedding

__all__ = ["Bfloat16", "Float16", "Full"]


@dataclass(frozen=True)
class _FloatEncoder(Encoder):
    dtype: str

    def encode(self, rows: NDArray[np.float32]) -> CompressedTable:
        if self.dtype == "bfloat16":
            return DenseTable(bfloat16_bits(rows), "bfloat16")
        with np.errstate(over="ignore"):
            stored = rows.astype(self.dtype)
        if not np.isfinite(stored).all():
            raise TableError(
                f"values up to {np.abs(rows).max():.6g} do not fit float16 (at most 65504); "
                "use bfloat16 or scale the table"
            )
        return DenseTable(stored, self.dtype)


class Full(PostTraining, TrainTime):
    """The rows as float32, exactly; in training, ``nn.Embedding`` itself."""

    name: ClassVar[str] = "full"
    family: ClassVar[Family] = "full"
    paper: ClassVar[str] = "IEEE 754"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    traits: ClassVar[Traits] = Traits(tolerance=0.0)

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        return _FloatEncoder("float32")

    def build(
        self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None
    ) -> TrainableEmbedding:
        from pintsize.methods._full_training import FloatEmbedding

        return FloatEmbedding(num_embeddings, embedding_dim)


class Float16(PostTraining, TrainTime):
    """The rows as IEEE half floats: 2 times smaller, 11 bits of precision, values up to 65504."""

    name: ClassVar[str] = "float16"
    family: ClassVar[Family] = "full"
    paper: ClassVar[str] = "IEEE 754-2008"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    traits: ClassVar[Traits] = Traits()

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        return _FloatEncoder("float16")

    def build(
        self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None
    ) -> TrainableEmbedding:
        from pintsize.methods._full_training import RoundedEmbedding

        return RoundedEmbedding(num_embeddings, embedding_dim, "float16")


class Bfloat16(PostTraining, TrainTime):
    """The rows as brain floats: 2 times smaller, 8 bits of precision, the range of float32."""

    name: ClassVar[str] = "bfloat16"
    family: ClassVar[Family] = "full"
    paper: ClassVar[str] = "Kalamkar et al. 2019, arXiv:1905.12322"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    traits: ClassVar[Traits] = Traits()

    def fit(self, table: EmbeddingTable, *, seed: int = 0) -> Encoder:
        return _FloatEncoder("bfloat16")

    def build(
        self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None
    ) -> TrainableEmbedding:
        from pintsize.methods._full_training import RoundedEmbedding

        return RoundedEmbedding(num_embeddings, embedding_dim, "bfloat16")
