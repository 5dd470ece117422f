"""Methods inside any torch model: embeddings are replaced by name, trained, and frozen into a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pintsize.errors import MethodError, MissingExtra, require
from pintsize.methods import METHODS, method_class
from pintsize.methods.base import Method, TrainTime
from pintsize.methods.spec import parse

torch = require("torch", "train")

from pintsize.swapping._places import Group, check, embeddings, put  # noqa: E402  (torch is asked for first)
from pintsize.swapping._slots import BagSlot, RowSlot, Slot  # noqa: E402
from pintsize.swapping._swapped import Swapped  # noqa: E402

__all__ = ["BagSlot", "RowSlot", "Slot", "Swapped", "swap"]


def swap(
    model: Any, methods: Mapping[str, str | Method] | str | Method, *, counts: Mapping[str, Any] | None = None
) -> Swapped:
    """Replaces embeddings of a model, in place, by tables that are trained in their compressed form.

    Each starts from the weight that was there, as near as its method can. Device, dtype of results and training flag
    stay. Embeddings over one weight get one table, whichever of their names was meant. A row of padding reads as zeros
    and gets no gradient. An optimizer made before still holds the old weights: make it afterwards.

    Args:
        model: Any module; its ``nn.Embedding`` and ``nn.EmbeddingBag`` children, at any depth, can be replaced.
        methods: Specs or methods by pattern of dotted module names; the first pattern that matches a name counts. One
            spec alone is for all.
        counts: How often each row is used, (num_embeddings,) by name or pattern, for methods that need it.

    Raises:
        MethodError: A method that does not train; a pattern that matches nothing; an embedding that cannot be replaced
            (``max_norm``, ``sparse``, ``scale_grad_by_freq``, a weight that a layer of another kind shares); settings
            that do not fit. The model is then as it was.
    """
    chosen = {pattern: _training(spec) for pattern, spec in _by_pattern(methods).items()}
    groups = embeddings(model)
    names = [name for group in groups for name in group.names]
    _check_patterns("pattern", chosen, names)
    _check_patterns("name of counts", counts or {}, names)
    work = [(group, one) for group in groups if (one := _method_of(group, chosen)) is not None]
    for group, _ in work:
        check(model, group)
    made = [(group, one, _built(group, one, _counts_of(group, counts or {}))) for group, one in work]
    for group, one, table in made:
        slots: dict[int, Slot] = {}
        for name, old in group.places.items():
            if id(old) not in slots:
                kind = RowSlot if isinstance(old, torch.nn.Embedding) else BagSlot
                slots[id(old)] = kind(old, table, one)
            put(model, name, slots[id(old)])
    return Swapped(model)


def _by_pattern(methods: Mapping[str, str | Method] | str | Method) -> Mapping[str, str | Method]:
    return methods if isinstance(methods, Mapping) else {"*": methods}


def _training(spec: str | Method) -> TrainTime:
    method = parse(spec)
    if not isinstance(method, TrainTime):
        raise MethodError(f"{method} works after training only; those that train are {', '.join(_that_train())}")
    return method


def _that_train() -> list[str]:
    found = []
    for name in METHODS:
        try:
            if issubclass(method_class(name), TrainTime):
                found.append(name)
        except MissingExtra:
            continue
    return found


def _check_patterns(what: str, patterns: Mapping[str, Any], names: list[str]) -> None:
    if what == "pattern" and not patterns:
        raise MethodError("no method is given; write {'*item*': 'SPEC'}")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise MethodError(f"{what} {pattern!r} matches no embedding; there are {', '.join(names) or 'none'}")


def _first(name: str, by_pattern: Mapping[str, Any]) -> Any:
    return next((value for pattern, value in by_pattern.items() if fnmatchcase(name, pattern)), None)


def _method_of(group: Group, chosen: Mapping[str, TrainTime]) -> TrainTime | None:
    found = {name: one for name in group.names if (one := _first(name, chosen)) is not None}
    if len(set(found.values())) > 1:
        said = ", ".join(f"{name}: {one}" for name, one in found.items())
        raise MethodError(f"embeddings over one weight have one method; found {said}")
    return next(iter(found.values()), None)


def _counts_of(group: Group, counts: Mapping[str, Any]) -> NDArray[np.int64] | None:
    found = next((c for n in group.names if (c := counts.get(n, _first(n, counts))) is not None), None)
    if found is None:
        return None
    array = np.asarray(found.cpu() if isinstance(found, torch.Tensor) else found)
    rows = group.weight.shape[0]
    if array.shape != (rows,) or array.dtype.kind not in "iu" or (array.size and array.min() < 0):
        raise MethodError(
            f"{group.names[0]}: counts are {rows} integers from 0, one a row; found {array.dtype} {array.shape}"
        )
    return array.astype(np.int64)


def _built(group: Group, method: TrainTime, counts: NDArray[np.int64] | None) -> Any:
    if method.traits.needs_counts and counts is None:
        raise MethodError(f"{group.names[0]}: {method.name} needs counts; give counts={{{group.names[0]!r}: ...}}")
    try:
        table = method.build(*group.weight.shape, counts=counts)
    except MethodError as error:
        raise MethodError(f"{group.names[0]}: {error}") from error
    table.to(group.weight.device)
    table.start_from(group.weight.detach())
    return table
