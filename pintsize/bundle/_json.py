"""JSON that nobody can surprise us with: one spelling when written, strict limits when read."""

from __future__ import annotations

import json
import math
from typing import Any

from pintsize.errors import BundleError

__all__ = ["MAX_BYTES", "canonical", "parsed"]

MAX_BYTES = 16 << 20
"""The largest manifest or header that is read: some ten thousand tables."""

_MAX_DEPTH = 64


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value; the order of keys is part of it.

    Raises:
        ValueError: NaN or infinity.
        TypeError: Not a JSON value.
    """
    return json.dumps(value, indent=1, allow_nan=False).encode("ascii") + b"\n"


def parsed(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `data`.

    Raises:
        BundleError: Not UTF-8, not JSON, not an object, a key that stands twice, an integer past 64 bits, a float that
            is not finite, or more than 64 levels.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_refused,
        )
        levels = _levels(value)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: JSON is expected; found {_short(error)}") from error
    if not isinstance(value, dict) or levels > _MAX_DEPTH:
        raise BundleError(f"{where}: a JSON object of at most {_MAX_DEPTH} levels is expected")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in names if names.count(k) > 1)!r} twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"an integer of more than 64 bits, {text[:20]}")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"a number too large, {text[:20]}")
    return value


def _refused(text: str) -> float:
    raise ValueError(f"{text}, which is no JSON")


def _levels(value: Any) -> int:
    """How deep a value nests, without recursion."""
    depth, layer = 0, [value]
    while layer:
        depth += 1
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


def _short(error: BaseException) -> str:
    text = str(error)
    return text if len(text) <= 200 else text[:200] + " ..."
