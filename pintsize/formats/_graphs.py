"""When torch traces a call or wants a gradient of it, and what a graph holds of a table."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from pintsize.formats.base import CompressedTable

__all__ = ["PROCESS", "alive", "graph_name", "remember", "wants_operator"]

PROCESS = os.urandom(8).hex()
"""Tells this process from others: a number of a table means nothing elsewhere."""

_tables: WeakValueDictionary[int, CompressedTable] = WeakValueDictionary()


def remember(table: CompressedTable) -> None:
    """Lets a graph name the table, for as long as somebody else keeps it alive."""
    _tables[id(table)] = table


def graph_name(table: CompressedTable) -> str:
    """What stands for a living table in a graph: torch.compile follows `id`, and guards that the object stays."""
    return f"{PROCESS}:{id(table)}"


def alive(name: str) -> CompressedTable | None:
    """The table with this name, or None where it is gone or belongs to another process."""
    process, _, number = name.partition(":")
    return _tables.get(int(number)) if process == PROCESS and number.isdecimal() else None


def wants_operator(x: Any, gradient: bool = False) -> bool:
    """Whether `x` is a tensor in a graph that torch traces, or one to which a gradient is to flow back."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return False
    return torch.compiler.is_compiling() or (gradient and x.requires_grad and torch.is_grad_enabled())
