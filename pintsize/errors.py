"""Every error that Pintsize raises, and the one answer to a missing extra."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["BundleError", "MethodError", "MissingExtra", "PintsizeError", "TableError", "require"]


class PintsizeError(Exception):
    """Base class of all errors of this package."""


class TableError(PintsizeError, ValueError):
    """A table, its ids or its counts are not what they must be."""


class MethodError(PintsizeError, ValueError):
    """A method's name or fields are wrong, or it cannot be applied to this table."""


class BundleError(PintsizeError, ValueError):
    """A bundle on disk is missing, broken, or of an unknown version."""


class MissingExtra(PintsizeError, ImportError):
    """A package that only some users need is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra of Pintsize brings it.

    Args:
        module: Dotted name of the module, e.g. ``"faiss"``.
        extra: The extra of this package that installs it.

    Raises:
        MissingExtra: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module} is needed for this and cannot be imported ({error}); run: pip install 'pintsize[{extra}]'"
        ) from error
