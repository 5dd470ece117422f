"""Tables on disk: a directory with a manifest, one safetensors file a table, and ids as Arrow.

Format 1. A bundle is a directory that holds, and holds nothing but:

- ``manifest.json``: everything said about the tables (see `_manifest`), the size and SHA-256 of every other file, and a
  SHA-256 of itself. Its bytes are the canonical form of its content, so that any change of it is noticed.
- ``NNNN-name.safetensors``: the arrays of table number NNNN under their dotted names (see `_tensors`).
- ``NNNN-name.ids.arrow``: its ids, where it has them (see `_ids`).

The same content, saved in the same order by the same versions of Pintsize and Arrow, gives the same bytes. A bundle is
never changed in place: it is written beside its target and put there in one step (see `_publishing`).
"""

from __future__ import annotations

from pintsize.bundle.reading import Bundle, load, verify
from pintsize.bundle.writing import BundleWriter, save

__all__ = ["Bundle", "BundleWriter", "load", "save", "verify"]
