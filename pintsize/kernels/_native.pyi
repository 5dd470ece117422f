"""The compiled module: what it offers is in src/bind_*.cpp, and `pintsize.kernels` says how it is called."""

from typing import Any

def __getattr__(name: str) -> Any: ...
