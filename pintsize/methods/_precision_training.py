"""Widths of groups of rows that are searched while a model is trained, and rows that are trained at given widths."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pintsize.errors import MethodError
from pintsize.formats._packing import packed_width
from pintsize.formats.base import CompressedTable
from pintsize.formats.codebook import CodebookTable
from pintsize.formats.partitioned import PartitionedTable
from pintsize.methods._bit_allocation import allocate_bits, mixed_bytes
from pintsize.methods._sign_training import ShadowTable
from pintsize.methods._straight_through import TINY, floored, learned_step, mean_magnitude, to_half
from pintsize.methods._trained_codes import coded_table

__all__ = ["CANDIDATES", "PrecisionSearch", "PrecisionTable", "row_bytes"]

CANDIDATES = (0, 2, 3, 4, 6, 8)
"""Widths that are searched."""

# The uniform quantizer of least error of a normal variable (Max 1960): its step over the variable's mean magnitude.
_STEPS = (1.0, 1.0, 1.248, 0.734, 0.420, 0.236, 0.130, 0.0713, 0.0386)


def row_bytes(columns: int) -> NDArray[np.int64]:
    """(9,) bytes of a row at 0 to 8 bits."""
    return np.array([0] + [packed_width(columns, 2**bits) + 2 for bits in range(1, 9)], np.int64)


def _bounds(bits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lowest and highest level and their spacing, float32: -1 and 1 for one bit."""
    half = 2.0 ** (bits.float() - 1)
    one = bits == 1
    return torch.where(one, -1.0, -half), torch.where(one, 1.0, half - 1), torch.where(one, 2.0, 1.0)


class PrecisionTable(ShadowTable):
    """Rows at fixed widths, with a learned step each (LSQ); rows without bits share one learned row.

    Args:
        num_embeddings: Rows.
        embedding_dim: Columns.
        bits: (num_embeddings,) bits of each row, 0 to 8.
    """

    bits: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, bits: NDArray[np.uint8]) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.register_buffer("bits", torch.from_numpy(np.ascontiguousarray(bits, np.uint8)))
        self.step = nn.Parameter(torch.empty(num_embeddings, 1))
        self.shared = nn.Parameter(torch.zeros(embedding_dim))
        self.start(1.0)

    @torch.no_grad()
    def start(self, deviation: float) -> None:
        super().start(deviation)
        self.shared.zero_()
        self._start_steps()

    @torch.no_grad()
    def start_from(self, weight: Tensor) -> None:
        super().start_from(weight)
        dropped = self.bits == 0
        self.shared.copy_(self.weight[dropped].mean(dim=0) if bool(dropped.any()) else torch.zeros_like(self.shared))
        self._start_steps()

    def _start_steps(self) -> None:
        factor = torch.tensor(_STEPS, device=self.weight.device)[self.bits.long()]
        self.step.copy_((factor[:, None] * mean_magnitude(self.weight)).clamp_min(TINY))

    def _rows(self, rows: Tensor) -> Tensor:
        bits = self.bits[rows][:, None]
        low, high, spacing = _bounds(bits.clamp_min(1))
        shadow = self.shadow(rows)
        steps = floored(nn.functional.embedding(rows, self.step).float(), shadow, high)
        damping = (self.embedding_dim * high).rsqrt()
        values = learned_step(shadow, steps, low, high, spacing, damping)
        return torch.where(bits == 0, self.shared.float(), values)

    @torch.no_grad()
    def freeze(self) -> CompressedTable:
        _, high, _ = _bounds(self.bits.clamp_min(1)[:, None])
        steps = floored(self.step.float(), self.weight.float(), high)
        return stored(self.weight, steps, self.bits, self.shared)


class PrecisionSearch(ShadowTable):
    """A softmax over widths for each group of rows, learned with the table (MPE).

    In training a row is ``sum_k p_k Q_k(x)`` over the widths of `CANDIDATES`, p the softmax of its group's logits and
    Q_k the quantizer of least error for a normal variable of the row's mean magnitude, straight-through where it does
    not clip; at 0 bits Q is a learned row that all share. In evaluation mode each group has one width: of all choices
    that keep the budget, the one for which the product of the groups' p is (nearly) largest.

    Args:
        num_embeddings: Rows.
        embedding_dim: Columns.
        group_of_row: (num_embeddings,) the group of each row, all of 0..groups-1.
        budget: Bytes of the stored table, at most.
        weight: Factor of `penalty`.

    Raises:
        MethodError: No width keeps to the budget; the message names the ratio that can be had.
    """

    group_of_row: Tensor
    sizes: Tensor

    def __init__(
        self, num_embeddings: int, embedding_dim: int, group_of_row: NDArray[np.int32], budget: float, weight: float
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.budget = budget
        self.pressure = weight
        self.costs = row_bytes(embedding_dim)
        self.register_buffer("group_of_row", torch.from_numpy(group_of_row))
        sizes = np.bincount(group_of_row)
        self.register_buffer("sizes", torch.from_numpy(sizes))
        self.logits = nn.Parameter(torch.zeros(len(sizes), len(CANDIDATES)))
        self.shared = nn.Parameter(torch.zeros(embedding_dim))
        if num_embeddings:
            least = min(self._total(held) for held in np.eye(9, dtype=np.int64)[[*CANDIDATES]] * num_embeddings)
            if least > budget:
                reachable = math.floor(100 * 4 * num_embeddings * embedding_dim / least) / 100
                raise MethodError(
                    f"the budget is {budget:.0f} bytes, and the smallest form of this table takes {least}; "
                    f"ask for at most ratio={reachable:.2f}"
                )
        self.start(1.0)

    @torch.no_grad()
    def start(self, deviation: float) -> None:
        super().start(deviation)
        self.logits.zero_()
        self.shared.zero_()

    @torch.no_grad()
    def start_from(self, weight: Tensor) -> None:
        super().start_from(weight)
        if len(weight):
            self.shared.copy_(weight.mean(dim=0))

    def search_parameters(self) -> list[nn.Parameter]:
        return [self.logits]

    def penalty(self) -> Tensor:
        """How far the expected bytes of the rows exceed the budget, as a share of it, times the weight."""
        costs = torch.tensor(self.costs[[*CANDIDATES]], dtype=torch.float32, device=self.logits.device)
        expected = (self.logits.float().softmax(dim=1) @ costs * self.sizes).sum()
        return self.pressure * torch.relu(expected / max(self.budget, 1.0) - 1)

    def _total(self, held: NDArray[np.int64]) -> int:
        return mixed_bytes(held, self.costs, self.embedding_dim, 0)

    def bits(self) -> Tensor:
        """(num_embeddings,) uint8: the width of each row, as far as the search has come."""
        if not self.num_embeddings:
            return torch.zeros(0, dtype=torch.uint8, device=self.logits.device)
        surprise = np.full((len(self.logits), 9), np.inf)
        surprise[:, [*CANDIDATES]] = -self.logits.detach().double().log_softmax(dim=1).cpu().numpy()
        chosen = allocate_bits(self.sizes.cpu().numpy(), surprise, self.costs, self._total, self.budget)
        return torch.from_numpy(np.asarray(chosen, np.uint8)).to(self.logits.device)[self.group_of_row.long()]

    def _rows(self, rows: Tensor) -> Tensor:
        values = self.shadow(rows)
        if not self.training:
            return self._at(values, self.bits()[rows][:, None])
        shares = self.logits.float().softmax(dim=1)[self.group_of_row[rows].long()]
        mixed = torch.zeros_like(values)
        for place, bits in enumerate(CANDIDATES):
            width = torch.tensor(bits, dtype=torch.uint8, device=values.device)
            mixed = mixed + shares[:, place, None] * self._at(values, width)
        return mixed

    def _at(self, values: Tensor, bits: Tensor) -> Tensor:
        low, high, spacing = _bounds(bits.clamp_min(1))
        served = learned_step(values, self._steps(values, bits), low, high, spacing, torch.zeros_like(low))
        return torch.where(bits == 0, self.shared.float(), served)

    @staticmethod
    def _steps(values: Tensor, bits: Tensor) -> Tensor:
        factor = torch.tensor(_STEPS, device=values.device)[bits.long()]
        return to_half((factor * mean_magnitude(values.detach())).clamp_min(TINY))

    @torch.no_grad()
    def retrain(self) -> PrecisionTable:
        """The table at the widths that were found, starting from the rows of the search."""
        found = PrecisionTable(self.num_embeddings, self.embedding_dim, self.bits().cpu().numpy())
        found.to(self.weight.device).start_from(self.weight)
        found.shared.copy_(self.shared)
        return found

    @torch.no_grad()
    def freeze(self) -> CompressedTable:
        bits = self.bits()
        return stored(self.weight, self._steps(self.weight.float(), bits[:, None]), bits, self.shared)


def stored(weight: Tensor, steps: Tensor, bits_of_row: Tensor, shared: Tensor) -> CompressedTable:
    """A part for each width that a row has.

    Args:
        weight: (n, d) float rows.
        steps: (n, 1) steps, as `to_half` rounds them.
        bits_of_row: (n,) uint8.
        shared: (d,) what rows without bits are.
    """
    widths, part = np.unique(bits_of_row.cpu().numpy(), return_inverse=True)
    chosen: Sequence[int] = [int(bits) for bits in widths] or [1]
    parts = [_part(weight, steps, bits, (bits_of_row == bits).nonzero()[:, 0], shared) for bits in chosen]
    return parts[0] if len(parts) == 1 else PartitionedTable.from_parts(part.astype(np.uint8), parts)


def _part(weight: Tensor, steps: Tensor, bits: int, rows: Tensor, shared: Tensor) -> CompressedTable:
    d = weight.shape[1]
    if bits == 0:
        word = shared.float().cpu().numpy().reshape(1, 1, d)
        return CodebookTable(np.empty((len(rows), 0), np.uint8), d, 1, 0, codebooks=word)
    low, high, spacing = (float(bound) for bound in _bounds(torch.tensor(bits)))

    def code(start: int, stop: int) -> tuple[Tensor, Tensor]:
        mine = rows[start:stop]
        ratio = weight[mine].float() / steps[mine]
        return torch.floor((ratio.clamp(low, high) - low) / spacing + 0.5), steps[mine] * spacing

    return coded_table(code, len(rows), d, 2**bits, d, low / spacing)
