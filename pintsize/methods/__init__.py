"""The methods by name, imported on demand. Adding one is a file here and a line below."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pintsize.errors import MethodError

if TYPE_CHECKING:
    from pintsize.methods.base import Method

__all__ = ["METHODS", "method_class"]

METHODS = {
    "bfloat16": "pintsize.methods.full:Bfloat16",
    "binary": "pintsize.methods.binary:Binary",
    "float16": "pintsize.methods.full:Float16",
    "full": "pintsize.methods.full:Full",
    "integer": "pintsize.methods.integer:Integer",
    "mixed_precision": "pintsize.methods.mixed_precision:MixedPrecision",
    "rabitq": "pintsize.methods.rabitq:Rabitq",
    "rotated": "pintsize.methods.rotated:Rotated",
    "ternary": "pintsize.methods.ternary:Ternary",
}


def method_class(name: str) -> type[Method]:
    """The method of this name.

    Raises:
        MethodError: No method has it; the nearest names are given.
    """
    if name not in METHODS:
        import difflib

        near = difflib.get_close_matches(name, METHODS, 3, 0.5) or sorted(METHODS)
        raise MethodError(f"unknown method {name!r}; did you mean {', '.join(near)}?")
    module, _, attribute = METHODS[name].partition(":")
    kind: Any = getattr(importlib.import_module(module), attribute)
    return kind  # type: ignore[no-any-return]
