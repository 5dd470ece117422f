"""Integers with a learned step: the table is quantized in every forward pass, and training sees it so."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from pintsize.errors import MethodError
from pintsize.formats.base import CompressedTable
from pintsize.methods._sign_training import ShadowTable
from pintsize.methods._straight_through import TINY, floored, learned_step
from pintsize.methods._trained_codes import coded_table
from pintsize.methods.base import Family, TrainTime, Traits

__all__ = ["Lsq", "LsqTable"]


class LsqTable(ShadowTable):
    """A float table, and a step for each row or for each group of its columns.

    Args:
        num_embeddings: Rows.
        embedding_dim: Columns.
        bits: Bits of a code.
        group: Columns that share a step.
    """

    low: Tensor
    high: Tensor
    spacing: Tensor
    damping: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, bits: int, group: int) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.bits = bits
        self.group = group
        self.groups = -(-embedding_dim // group)
        self.step = nn.Parameter(torch.empty(num_embeddings, self.groups))
        low, high = (-1, 1) if bits == 1 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        for name, value in (
            ("low", low),
            ("high", high),
            ("spacing", 2 if bits == 1 else 1),
            ("damping", 1 / math.sqrt(group * high)),
        ):
            self.register_buffer(name, torch.tensor(float(value)), persistent=False)
        self.start(1.0)

    @torch.no_grad()
    def start(self, deviation: float) -> None:
        super().start(deviation)
        self._start_steps()

    @torch.no_grad()
    def start_from(self, weight: Tensor) -> None:
        super().start_from(weight)
        self._start_steps()

    def _start_steps(self) -> None:
        """``2 mean |x| / sqrt(qmax)`` (Esser et al. 2020, section 2.1), and the mean itself for one bit."""
        sizes = self._grouped(self.weight.abs())
        columns = self._grouped(torch.ones_like(self.weight[:1])).sum(dim=2)
        factor = 1.0 if self.bits == 1 else 2 / math.sqrt(float(self.high))
        self.step.copy_((factor * sizes.sum(dim=2) / columns).clamp_min(TINY))

    def _grouped(self, rows: Tensor) -> Tensor:
        """(n, groups, group), with zeros behind a shorter last group."""
        padded = nn.functional.pad(rows, (0, self.groups * self.group - self.embedding_dim))
        return padded.reshape(len(rows), self.groups, self.group)

    def _rows(self, rows: Tensor) -> Tensor:
        values = self._grouped(self.shadow(rows))
        steps = floored(nn.functional.embedding(rows, self.step).float()[:, :, None], values, self.high)
        served = learned_step(values, steps, self.low, self.high, self.spacing, self.damping)
        return served.reshape(len(rows), self.groups * self.group)[:, : self.embedding_dim]

    def freeze(self) -> CompressedTable:
        low, spacing = float(self.low), float(self.spacing)

        def code(start: int, stop: int) -> tuple[Tensor, Tensor]:
            values = self._grouped(self.weight[start:stop].float())
            steps = floored(self.step[start:stop].float()[:, :, None], values, self.high)
            ratio = values / steps
            codes = torch.floor((ratio.clamp(low, float(self.high)) - low) / spacing + 0.5)
            return codes.reshape(stop - start, self.groups * self.group)[:, : self.embedding_dim], steps[
                :, :, 0
            ] * spacing

        return coded_table(code, self.num_embeddings, self.embedding_dim, 2**self.bits, self.group, low / spacing)


class Lsq(TrainTime):
    """Learned step size quantization: ``round(clip(x / s, -2^(b-1), 2^(b-1) - 1)) s``, s learned with the table.

    The gradient of x passes where x is not clipped. That of s is ``q - x / s`` there and the clipping level elsewhere,
    times ``1 / sqrt(group qmax)``. One bit is the sign times s. The paper has one step a layer; here each row, or each
    `group` of its columns, has its own, and the steps are
    rounded to float16 in training as in storage, and never so small that half the mean magnitude would be clipped.
    """

    name: ClassVar[str] = "lsq"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Esser et al. 2020 (LSQ), arXiv:1902.08153"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"bits": 4}, {"bits": 1}, {"bits": 3, "group": 10})
    traits: ClassVar[Traits] = Traits()

    bits: int = Field(4, ge=1, le=8, description="Bits of a code.")
    group: int | None = Field(None, ge=1, description="Columns that share a step; the whole row by default.")

    def build(self, num_embeddings: int, embedding_dim: int, *, counts: NDArray[np.int64] | None = None) -> LsqTable:
        if self.group is not None and self.group > embedding_dim:
            raise MethodError(f"group is at most the {embedding_dim} columns of the table; found {self.group}")
        return LsqTable(num_embeddings, embedding_dim, self.bits, self.group or embedding_dim)
