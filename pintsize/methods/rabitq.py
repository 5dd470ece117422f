"""RaBitQ: a random rotation, then the scalar codes nearest to the row."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic import Field

from pintsize.formats._rotation import random_rotation
from pintsize.methods._scalar_codes import REACH, ScalarMethod
from pintsize.methods._step_search import StepEncoder, searched_steps
from pintsize.methods.base import Encoder, Family, Traits

__all__ = ["Rabitq"]


class Rabitq(ScalarMethod):
    """Rows times one random orthogonal matrix, then the codes of `bits` bits whose best multiple is nearest to the row.

    Per row a dozen steps t are tried: ``k = clip(floor(y / t))``, ``q = k + 1/2``, ``c = y.q / q.q``, and the t of
    least ``||y - c q||`` is kept; a last pass decides the codes against the stored c. With one bit ``sign(y)`` times
    ``||y||^2 / ||y||_1``, with which inner products are unbiased over the rotations (2405.12497, theorem 3.2), at more
    squared error than `rotated` has.
    """

    name: ClassVar[str] = "rabitq"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Gao et al. 2024, arXiv:2409.09913; Gao & Long 2024, arXiv:2405.12497"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"bits": 1}, {"bits": 2}, {"bits": 4, "rotate": False})
    traits: ClassVar[Traits] = Traits()

    bits: int = Field(4, ge=1, le=8, description="Bits of a code.")
    rotate: bool = Field(True, description="Whether rows are rotated first.")

    def _encoder(self, columns: int, unit: float, seed: int) -> Encoder:
        rotation = random_rotation(columns, seed) if self.rotate else None
        return StepEncoder(columns, self.bits, unit, rotation, searched_steps(self.bits), unbiased=self.bits == 1)

    def _reach(self, columns: int) -> int:
        # The unbiased scale of a row that lies along an axis is 2 sqrt(columns) times its largest value.
        return REACH - (math.ceil(math.log2(columns) / 2) if self.bits == 1 else 0)
