"""NumPy arrays and torch tensors alike, without importing torch: what comes in decides what goes out."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "dtype_name", "is_torch", "like", "namespace", "to_numpy"]

Array: TypeAlias = Any
"""A NumPy array or a torch tensor."""


def is_torch(x: Any) -> bool:
    """Whether `x` is a torch tensor; never imports torch (a tensor cannot exist before somebody has)."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def namespace(x: Array) -> Any:
    """The array-API namespace of an array."""
    if is_torch(x):
        import array_api_compat.torch as torch_namespace

        return torch_namespace
    import array_api_compat.numpy as numpy_namespace

    return numpy_namespace


def dtype_name(x: Any) -> str:
    """``"float32"``, whether NumPy's or torch's."""
    return str(x.dtype).removeprefix("torch.")


def to_numpy(x: Array) -> NDArray[Any]:
    """As a NumPy array: no copy for NumPy and for tensors in main memory."""
    return x.detach().cpu().numpy() if is_torch(x) else np.asarray(x)


def like(x: NDArray[Any], reference: Any) -> Array:
    """A NumPy result in the kind, and on the device, of `reference`."""
    if not is_torch(reference):
        return x
    return sys.modules["torch"].from_numpy(x).to(reference.device)
