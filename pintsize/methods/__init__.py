"""The methods by name, imported on demand. Adding one is a file here and a line below."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pintsize.errors import MethodError, MissingExtra

if TYPE_CHECKING:
    from pintsize.methods.base import Method

__all__ = ["METHODS", "method_class"]

METHODS = {
    "alpt": "pintsize.methods.alpt:Alpt",
    "bfloat16": "pintsize.methods.full:Bfloat16",
    "binary": "pintsize.methods.binary:Binary",
    "block_float": "pintsize.methods.block_float:BlockFloat",
    "dedup": "pintsize.methods.dedup:Dedup",
    "float16": "pintsize.methods.full:Float16",
    "full": "pintsize.methods.full:Full",
    "integer": "pintsize.methods.integer:Integer",
    "integer_factorization": "pintsize.methods.integer_factorization:IntegerFactorization",
    "l2q": "pintsize.methods.l2q:L2q",
    "l2q_anl": "pintsize.methods.l2q_anl:L2qAnl",
    "lsq": "pintsize.methods.lsq:Lsq",
    "magnitude": "pintsize.methods.magnitude:Magnitude",
    "mixed_dimension": "pintsize.methods.mixed_dimension:MixedDimension",
    "mixed_precision": "pintsize.methods.mixed_precision:MixedPrecision",
    "nmf": "pintsize.methods.nmf:Nmf",
    "opq": "pintsize.methods.opq:Opq",
    "paired": "pintsize.methods.paired:Paired",
    "pq": "pintsize.methods.pq:Pq",
    "rabitq": "pintsize.methods.rabitq:Rabitq",
    "residual": "pintsize.methods.residual:Residual",
    "rotated": "pintsize.methods.rotated:Rotated",
    "svd": "pintsize.methods.svd:Svd",
    "ternary": "pintsize.methods.ternary:Ternary",
    "truncation": "pintsize.methods.truncation:Truncation",
    "weighted_nuclear_norm": "pintsize.methods.weighted_nuclear_norm:WeightedNuclearNorm",
}


def method_class(name: str) -> type[Method]:
    """The method of this name.

    Raises:
        MethodError: No method has it; the nearest names are given.
        MissingExtra: It trains, and torch is not installed.
    """
    if name not in METHODS:
        import difflib

        near = difflib.get_close_matches(name, METHODS, 3, 0.5) or sorted(METHODS)
        raise MethodError(f"unknown method {name!r}; did you mean {', '.join(near)}?")
    module, _, attribute = METHODS[name].partition(":")
    try:
        kind: Any = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtra(
            f"{name} trains in torch, which is not installed; run: pip install 'pintsize[train]'"
        ) from error
    return kind  # type: ignore[no-any-return]
