"""Vectors that are the same, or nearly so, found by hashing."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["exact_groups", "near_groups"]

Floats: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.int64]

_ROUNDS = 6
_LEADERS = 64
_PROJECTIONS = 12
_BUCKET = 16
_WIDTH = 4.0


def exact_groups(vectors: Floats, seed: int) -> tuple[Places, Places]:
    """The first vector of each group of equal ones, in order, and the group of every vector; -0 equals 0."""
    bits = (vectors + np.float32(0)).view(np.uint32)
    factors = np.random.default_rng(seed).integers(0, 2**63, bits.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.zeros(len(bits), np.uint64)
    for column, factor in enumerate(factors):
        keys = (keys ^ bits[:, column]) * factor
        keys ^= keys >> np.uint64(29)
    first, group = _groups(keys)
    if not (bits[first[group]] == bits).all():  # two different vectors share a 64-bit key
        first, group = _groups(np.ascontiguousarray(bits).view(np.dtype((np.void, 4 * bits.shape[1])))[:, 0])
    return first, group


def _groups(keys: NDArray[Any]) -> tuple[Places, Places]:
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[group.reshape(-1)]


def near_groups(vectors: Floats, sizes: Places, radius: float, seed: int) -> Places:
    """The leader of each vector: another one no farther than `radius` (Euclidean), or itself.

    Locality-sensitive hashing by p-stable projections (Datar, Immorlica, Indyk & Mirrokni 2004): in each round vectors
    fall into buckets; a bucket's largest group takes in what is near it, then the next, until none is left. A leader is
    never taken in itself, so that nobody moves farther than the radius.

    Args:
        vectors: (k, width) distinct vectors.
        sizes: (k,) how many blocks each stands for.
        radius: The farthest that a vector may lie from its leader.
        seed: Of the projections.
    """
    leader = np.arange(len(vectors))
    leads = np.zeros(len(vectors), bool)
    rng = np.random.default_rng(seed)
    for _ in range(_ROUNDS):
        free = np.flatnonzero(leader == np.arange(len(vectors)))
        keys = _bucket_keys(vectors[free], radius, rng)
        order = np.lexsort((-sizes[free], ~leads[free], keys))
        waiting, keys = free[order], keys[order]
        for _ in range(_LEADERS):
            head = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, np.int64)
            if len(head) == len(keys):
                break
            chief = np.repeat(waiting[head], np.diff(np.append(head, len(keys))))
            apart = vectors[waiting].astype(np.float64) - vectors[chief]
            joins = (np.einsum("ij,ij->i", apart, apart) <= radius * radius) & ~leads[waiting] & (waiting != chief)
            leader[waiting[joins]] = chief[joins]
            leads[chief[joins]] = True
            stays = ~joins & (waiting != chief)
            waiting, keys = waiting[stays], keys[stays]
    return leader


def _bucket_keys(vectors: Floats, radius: float, rng: np.random.Generator) -> NDArray[np.uint64]:
    """One key a vector: cells of as many random projections as it takes to make buckets small."""
    keys = np.zeros(len(vectors), np.uint64)
    for _ in range(_PROJECTIONS):
        direction = rng.standard_normal(vectors.shape[1]) / (_WIDTH * radius)
        cells = np.floor(np.clip(vectors @ direction + rng.random(), -(2.0**62), 2.0**62)).astype(np.int64)
        keys = (keys ^ cells.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
        if len(vectors) <= _BUCKET * len(np.unique(keys)):
            break
    return keys
