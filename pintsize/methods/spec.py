"""The one-line form of a method: ``name``, ``name:field=value,field=value``, and ``a + b``.

Names come from the registry and fields from the method; a list is written ``[8,4,2]``. ``a + b`` means that the float
parts of what `a` made are compressed by `b`. ``parse(str(m)) == m`` for every method m.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError

from pintsize.errors import MethodError
from pintsize.methods import method_class
from pintsize.methods.base import Method

__all__ = ["parse", "written"]

# Not the commas of a list: ``bits=[8,4,2]`` is one field.
_BETWEEN_FIELDS = re.compile(r",(?![^\[]*\])")


def parse(spec: str | Method) -> Method:
    """The method that a spec names; a method is returned as it is.

    Raises:
        MethodError: An unknown name or field, a value that does not fit, or a spec that is not of the form.
    """
    if isinstance(spec, Method):
        return spec
    if not isinstance(spec, str):
        raise MethodError(f"a method is a spec such as 'integer:bits=4'; found {type(spec).__name__}")
    parts = [part.strip() for part in spec.split("+")]
    if len(parts) == 1:
        return _single(parts[0], spec)
    from pintsize.methods.sum import Sum

    return _validated(Sum, {"parts": tuple(_single(part, spec) for part in parts)}, spec)


def written(method: Method) -> str:
    """The canonical spec: fields in their order, those at their default left out."""
    from pintsize.methods.sum import Sum

    if isinstance(method, Sum):
        return " + ".join(written(part) for part in method.parts)
    shown = []
    for name, info in type(method).model_fields.items():
        value = getattr(method, name)
        if info.is_required() or value != info.default:
            shown.append(f"{name}={_text(value)}")
    return method.name + (":" + ",".join(shown) if shown else "")


def _single(text: str, spec: str) -> Method:
    name, colon, rest = text.partition(":")
    kind = method_class(name.strip())
    fields: dict[str, Any] = {}
    for item in _BETWEEN_FIELDS.split(rest) if colon else []:
        key, equals, value = (piece.strip() for piece in item.partition("="))
        if not key or not equals or not value:
            raise MethodError(f"{spec!r}: fields are written name=value and parted by commas; found {item.strip()!r}")
        if key in fields:
            raise MethodError(f"{spec!r}: {key!r} is given twice")
        fields[key] = _value(value)
    return _validated(kind, fields, spec)


def _validated(kind: type[Method], fields: dict[str, Any], spec: str) -> Method:
    try:
        return kind(**fields)
    except ValidationError as error:
        known = ", ".join(kind.model_fields) or "none"
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'method'}: {_reason(e)}" for e in error.errors())
        raise MethodError(f"{spec!r}: {faults} (the fields of {kind.name!r} are: {known})") from None


def _reason(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "there is no such field"
    return f"{fault['msg']}, found {fault['input']!r}" if fault["type"] != "missing" else "is needed"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
