"""The other side of the look-up benchmarks: quantized tables of FBGEMM and torch, called in every way they allow."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["FBGEMM", "prepacked", "torch_bags"]

Rows = NDArray[np.float32]


class FBGEMM:
    """A table in FBGEMM's inference format on the CPU, of 8, 4 or 2 bits, filled block by block.

    Args:
        rows: Rows of the table.
        columns: Columns.
        bits: 8, 4 or 2.
        huge_pages: Put the weights where NumPy asks for 2 MB pages, instead of where torch puts them.
    """

    def __init__(self, rows: int, columns: int, bits: int, *, huge_pages: bool) -> None:
        ops = importlib.import_module("fbgemm_gpu.split_table_batched_embeddings_ops_inference")
        configs = importlib.import_module("fbgemm_gpu.split_embedding_configs")
        self.utils = importlib.import_module("fbgemm_gpu.tbe.utils")
        self.kind = {8: configs.SparseType.INT8, 4: configs.SparseType.INT4, 2: configs.SparseType.INT2}[bits]
        self.modules = {}
        for pooling in (ops.PoolingMode.SUM, ops.PoolingMode.NONE):
            self.modules[pooling.name] = ops.IntNBitTableBatchedEmbeddingBagsCodegen(
                [("table", rows, columns, self.kind, ops.EmbeddingLocation.HOST)],
                pooling_mode=pooling,
                device="cpu",
                output_dtype=configs.SparseType.FP32,
                bounds_check_mode=ops.BoundsCheckMode.NONE,
            )
        pooled, plain = self.modules["SUM"], self.modules["NONE"]
        pooled.initialize_weights()
        if huge_pages:
            pooled.weights_host = torch.from_numpy(np.zeros(pooled.weights_host.numel(), np.uint8))
        plain.initialize_weights()
        plain.weights_host = pooled.weights_host

    def fill(self, start: int, rows: Rows) -> None:
        """Quantizes rows by FBGEMM's own operators and stores them from row `start` on."""
        codes, scales = self.modules["SUM"].split_embedding_weights()[0]
        quantized, bounds = self.utils.quantize_embs(torch.from_numpy(rows), self.kind)
        codes[start : start + len(rows)].copy_(quantized)
        scales[start : start + len(rows)].copy_(bounds)

    def calls(self, indices: torch.Tensor, offsets: torch.Tensor | None) -> dict[str, Callable[[], torch.Tensor]]:
        """Ways to ask for bags (each row alone without offsets): the module and the bare operator."""
        pooled = self.modules["SUM"]
        singles = torch.arange(len(indices) + 1, dtype=indices.dtype)
        bounds = singles if offsets is None else offsets
        ways = {
            "module": lambda: pooled(indices, bounds),
            "op": lambda: self._op(pooled, indices, bounds),
        }
        if offsets is None:
            plain = self.modules["NONE"]
            ways["unpooled module"] = lambda: plain(indices, bounds)
            ways["unpooled op"] = lambda: self._op(plain, indices, bounds)
        return ways

    @staticmethod
    def _op(module: Any, indices: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.ops.fbgemm.int_nbit_split_embedding_codegen_lookup_function(
            dev_weights=module.weights_host,
            uvm_weights=module.weights_uvm,
            weights_placements=module.weights_placements,
            weights_offsets=module.weights_offsets,
            weights_tys=module.weights_tys,
            D_offsets=module.D_offsets,
            total_D=module.total_D,
            max_int2_D=module.max_int2_D,
            max_int4_D=module.max_int4_D,
            max_int8_D=module.max_int8_D,
            max_float16_D=module.max_float16_D,
            max_float32_D=module.max_float32_D,
            indices=indices,
            offsets=offsets,
            pooling_mode=int(module.pooling_mode),
            indice_weights=None,
            output_dtype=module.output_dtype,
            row_alignment=module.row_alignment,
            max_float8_D=module.max_float8_D,
            fp8_exponent_bits=module.fp8_exponent_bits,
            fp8_exponent_bias=module.fp8_exponent_bias,
        )
        return found


def torch_bags(packed: torch.Tensor, bits: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The quantized embedding bag of torch itself, over rows that `prepacked` made."""
    names = {8: "byte", 4: "4bit", 2: "2bit"}
    op = getattr(torch.ops.quantized, f"embedding_bag_{names[bits]}_rowwise_offsets")
    return lambda indices, offsets: op(packed, indices, offsets, mode=0, include_last_offset=True)  # type: ignore[no-any-return]


def prepacked(rows: Rows, bits: int) -> torch.Tensor:
    """Rows as torch's quantized bags hold them."""
    names = {8: "byte", 4: "4bit", 2: "2bit"}
    op = getattr(torch.ops.quantized, f"embedding_bag_{names[bits]}_prepack")
    found: torch.Tensor = op(torch.from_numpy(rows))
    return found
