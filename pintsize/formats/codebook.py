"""A few codes a row into shared codebooks, whose entries are summed or put side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pintsize.arrays import Array, dtype_name, namespace, to_numpy
from pintsize.errors import TableError
from pintsize.formats._addresses import rows_at, shared_at
from pintsize.formats.base import PER_ROW, SHARED, CompressedTable
from pintsize.kernels import address, native

__all__ = ["CodebookTable", "code_width", "pack_codes"]

_MAX_BITS = 32
_MAX_CODES = 1 << 16
_BLOCK_ROWS = 1 << 14
_DEVICE_ROWS = 1 << 18


def code_width(codes: int, bits: int) -> int:
    """Bytes of a record with this many codes of `bits` bits."""
    return -(-codes * bits // 8)


def pack_codes(codes: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """(rows, m) codes below 2**bits as (rows, code_width) bytes: one little-endian string of bits a row."""
    if bits == 8:
        return np.ascontiguousarray(codes, np.uint8)
    rows, m = codes.shape
    out = np.zeros((rows, code_width(m, bits) + 8), np.uint8)
    for j in range(m):
        first, shift = divmod(j * bits, 8)
        value = codes[:, j].astype(np.uint64) << np.uint64(shift)
        for byte in range(code_width(1, bits + shift)):
            out[:, first + byte] |= ((value >> np.uint64(8 * byte)) & np.uint64(255)).astype(np.uint8)
    return out[:, : code_width(m, bits)].copy()


@dataclass(frozen=True, eq=False)
class CodebookTable(CompressedTable):
    """Codes into codebooks.

    Args:
        records: (num_embeddings, code_width(codes, bits)) uint8; see `pack_codes`.
        columns: The embedding_dim; with ``combine="concat"`` at most codes x width of a codeword, further ones are cut.
        codes: Codes a row, m.
        bits: Bits a code, 0..32 (0: one codeword for all).
        combine: ``"concat"``: m pieces side by side; ``"sum"``: m whole rows added, in order.
        codebooks: (m, K, width) float32 or float16, or (1, K, width) that all m codes share; K at most 2**bits.
        rotation: (m * width, m * width) float32 for ``"concat"``, (columns, columns) for ``"sum"``: the decoded row is
            multiplied by it from the right; or None.
    """

    tag: ClassVar[str] = "codebook"

    records: Array = field(metadata=PER_ROW)
    columns: int
    codes: int
    bits: int
    combine: str = "concat"
    codebooks: Array = field(default=None, kw_only=True, metadata=SHARED)
    rotation: Array | None = field(default=None, kw_only=True, metadata=SHARED)

    @property
    def num_embeddings(self) -> int:
        return int(self.records.shape[0])

    @property
    def embedding_dim(self) -> int:
        return self.columns

    @property
    def codewords(self) -> int:
        """Codewords in each codebook, K."""
        return int(self.codebooks.shape[1])

    @property
    def _width(self) -> int:
        return int(self.codebooks.shape[2])

    def check(self) -> None:
        if self.combine not in ("concat", "sum"):
            raise TableError(f"codebook: combine is 'concat' or 'sum'; found {self.combine!r}")
        if not all(isinstance(v, int) for v in (self.columns, self.codes, self.bits)):
            raise TableError("codebook: columns, codes and bits are integers")
        if self.codes < 1 or self.columns < 1 or not 0 <= self.bits <= _MAX_BITS:
            raise TableError(f"codebook: found {self.codes} codes of {self.bits} bits for {self.columns} columns")
        if self.codes > _MAX_CODES:
            raise TableError(f"codebook: at most {_MAX_CODES} codes a row; found {self.codes}")
        width = code_width(self.codes, self.bits)
        if self.records.ndim != 2 or dtype_name(self.records) != "uint8" or self.records.shape[1] != width:
            raise TableError(f"codebook: records are uint8 (n, {width}); found {tuple(self.records.shape)}")
        books = self.codebooks
        if books is None or books.ndim != 3 or dtype_name(books) not in ("float32", "float16"):
            raise TableError("codebook: codebooks are float32 or float16 of three dimensions")
        if books.shape[0] not in (1, self.codes) or not 1 <= books.shape[1] <= 2**self.bits:
            raise TableError(
                f"codebook: {self.codes} codes of {self.bits} bits do not fit codebooks of shape {tuple(books.shape)}"
            )
        decoded = self._width * (self.codes if self.combine == "concat" else 1)
        fits = decoded >= self.columns if self.combine == "concat" else decoded == self.columns
        if not fits:
            raise TableError(f"codebook: codewords give {decoded} columns; {self.columns} are needed")
        rotation = self.rotation
        if rotation is not None and (dtype_name(rotation) != "float32" or tuple(rotation.shape) != (decoded, decoded)):
            raise TableError(f"codebook: the rotation is float32 ({decoded}, {decoded}); found {tuple(rotation.shape)}")

    def validate(self) -> None:
        self.check()
        for name in ("codebooks", "rotation"):
            array = getattr(self, name)
            if array is not None and not np.isfinite(to_numpy(array)).all():
                raise TableError(f"codebook: the {name} hold a value that is not finite")
        if self.codewords == 2**self.bits:
            return
        for start in range(0, self.num_embeddings, 1 << 16):
            for j, codes in enumerate(self._unpacked(to_numpy(self.records[start : start + (1 << 16)]))):
                bad = np.flatnonzero(codes >= self.codewords)
                if bad.size:
                    raise TableError(
                        f"codebook: code {j} of row {start + bad[0]} is {codes[bad[0]]}, "
                        f"past its codebook of {self.codewords} codewords"
                    )

    def _damaged(self) -> TableError:
        return TableError(f"codebook: a code is past its codebook of {self.codewords}; the table is damaged")

    def _unpacked(self, records: Array) -> Iterator[Array]:
        xp = namespace(records)
        for j in range(self.codes):
            first, shift = divmod(j * self.bits, 8)
            value = xp.zeros(records.shape[0], dtype=xp.int64, device=records.device)
            for byte in range(code_width(1, self.bits + shift) if self.bits else 0):
                value = value | (xp.astype(records[:, first + byte], xp.int64) << (8 * byte))
            yield (value >> shift) & (2**self.bits - 1)

    def _gather(self, rows: Array) -> Array:
        xp = namespace(self.records)
        pieces = []
        for j, codes in enumerate(self._unpacked(xp.take(self.records, rows, axis=0))):
            if self.codewords < 2**self.bits and bool(xp.any(codes >= self.codewords)):
                raise self._damaged()
            book = self.codebooks[j if self.codebooks.shape[0] > 1 else 0, :, :]
            pieces.append(xp.astype(xp.take(book, codes, axis=0), xp.float32))
        if self.combine == "concat":
            decoded = xp.concat(pieces, axis=1)
        else:
            decoded = pieces[0]
            for piece in pieces[1:]:
                decoded = decoded + piece
        if self.rotation is not None:
            decoded = decoded @ self.rotation
        return decoded[:, : self.columns]

    def _gather_native(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> bool:
        kernels = native()
        if kernels is None or self._layout is None:
            return False
        if self.rotation is None:
            self._decode(kernels, rows, out)
            return True
        decoded = np.empty((min(len(rows), _BLOCK_ROWS), self.rotation.shape[0]), np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            self._decode(kernels, block, decoded[: len(block)])
            self._rotated(decoded[: len(block)], out[start : start + len(block)])
        return True

    def _decode(self, kernels: Any, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        if kernels.codebook_gather(self._layout[0], address(rows), len(rows), address(out)) >= 0:  # type: ignore[index]
            raise self._damaged()

    def _rotated(self, decoded: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        rotation: Any = self.rotation
        if self.columns == decoded.shape[1]:
            np.matmul(decoded, rotation, out=out)
        else:
            out[...] = (decoded @ rotation)[:, : self.columns]

    def _bag_native(
        self,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        mean: bool,
        weights: NDArray[np.float32] | None,
        out: NDArray[np.float32],
    ) -> bool:
        kernels = native()
        if kernels is None or self._layout is None:
            return False
        # A rotation is linear: it is undone once a bag.
        sums = out if self.rotation is None else np.empty((len(out), self.rotation.shape[0]), np.float32)
        factors = 0 if weights is None else address(weights)
        damaged = kernels.codebook_bag(
            self._layout[0], address(rows), len(rows), address(starts), len(starts), mean, factors, address(sums)
        )
        if damaged >= 0:
            raise self._damaged()
        if self.rotation is not None:
            self._rotated(sums, out)
        return True

    def _gather_triton(self, kernels: Any, rows: Array, out: Array) -> bool:
        layout = self._tiles(kernels)
        if layout is None:
            return False
        for start in range(0, rows.shape[0], _DEVICE_ROWS):
            block = out[start : start + _DEVICE_ROWS]
            decoded = block if self.rotation is None else block.new_empty((block.shape[0], layout.columns))
            if not kernels.gather_codebook(layout, rows[start : start + _DEVICE_ROWS], decoded):
                raise self._damaged()
            if self.rotation is not None:
                block[...] = (decoded @ self.rotation)[:, : self.columns]
        return True

    def _bag_triton(
        self, kernels: Any, rows: Array, bounds: NDArray[np.int64], mean: bool, weights: Array | None, out: Array
    ) -> bool:
        layout = self._tiles(kernels)
        if layout is None:
            return False
        sums = out if self.rotation is None else out.new_empty((out.shape[0], layout.columns))
        if not kernels.bag_codebook(layout, rows, bounds, mean, weights, sums):
            raise self._damaged()
        if self.rotation is not None:
            out[...] = (sums @ self.rotation)[:, : self.columns]
        return True

    def _tiles(self, kernels: Any) -> Any:
        """What the Triton kernels read; None: not theirs."""
        if self.records.shape[1] > 1 and self.records.stride(1) != 1:
            return None
        columns = self.columns if self.rotation is None else self.rotation.shape[0]
        return kernels.CodebookLayout(
            self.records, columns, self.codes, self.bits, self.combine == "sum", self.codebooks.contiguous()
        )

    @cached_property
    def _layout(self) -> tuple[tuple[int, ...], list[NDArray[Any]]] | None:
        """What the kernels read, in the order of bind_tables.cpp, and the arrays made for that; None: not theirs."""
        place = rows_at(self.records)
        if place is None:
            return None
        kept: list[NDArray[Any]] = []
        fields = (
            place[0], self.num_embeddings, place[1], code_width(self.codes, self.bits),
            self.columns if self.rotation is None else self.rotation.shape[0],
            self.codes, self.bits, int(self.combine == "sum"), shared_at(self.codebooks, kept),
            int(self.codebooks.dtype == np.float16), int(self.codebooks.shape[0] == 1), self.codewords, self._width,
        )  # fmt: skip
        return fields, kept
