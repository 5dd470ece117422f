"""A random rotation, then symmetric scalar codes."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from pintsize.formats._rotation import random_rotation
from pintsize.methods._scalar_codes import ScalarMethod
from pintsize.methods._step_search import StepEncoder
from pintsize.methods.base import Encoder, Family, Traits

__all__ = ["Rotated"]


class Rotated(ScalarMethod):
    """Rows times one random orthogonal matrix, then symmetric codes of `bits` bits with one float16 scale a row.

    A rotated row looks Gaussian, so that one good step is known beforehand: that of Max (1960) times the root of the
    mean square, or the step that clips nothing where that is smaller. The scale is then fitted to its codes by least
    squares, and the codes are decided again against the stored scale. `rabitq` searches the step instead.
    """

    name: ClassVar[str] = "rotated"
    family: ClassVar[Family] = "quantization"
    paper: ClassVar[str] = "Gao & Long 2024, arXiv:2405.12497; Chee et al. 2023 (QuIP), arXiv:2307.13304"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"bits": 1}, {"bits": 2}, {"bits": 5})
    traits: ClassVar[Traits] = Traits()

    bits: int = Field(4, ge=1, le=8, description="Bits of a code.")

    def _encoder(self, columns: int, unit: float, seed: int) -> Encoder:
        return StepEncoder(columns, self.bits, unit, random_rotation(columns, seed))
