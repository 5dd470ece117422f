"""Vectors that are the same, or nearly so, found by hashing."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["exact_groups", "near_groups"]

Floats: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.int64]

_ROUNDS = 6
_LEADERS = 24
_PROJECTIONS = 12
_BUCKET = 16
_WIDTH = 4.0
_PARTING = 1.5
_ODD = np.uint64(0x9E3779B97F4A7C15)


def exact_groups(vectors: Floats, seed: int) -> tuple[Places, Places]:
    """The first vector of each group of equal ones, in order, and the group of every vector; -0 equals 0."""
    bits = (vectors + np.float32(0)).view(np.uint32)
    factors = np.random.default_rng(seed).integers(0, 2**63, bits.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.zeros(len(bits), np.uint64)
    for column, factor in enumerate(factors):
        keys = _mixed(keys, bits[:, column], factor)
    first, group = _groups(keys)
    if not (bits[first[group]] == bits).all():  # two different vectors share a 64-bit key
        first, group = _groups(np.ascontiguousarray(bits).view(np.dtype((np.void, 4 * bits.shape[1])))[:, 0])
    return first, group


def _mixed(keys: NDArray[np.uint64], more: NDArray[Any], factor: np.uint64) -> NDArray[np.uint64]:
    """Keys that hang on what came before and on `more`, by multiplication with an odd factor."""
    mixed: NDArray[np.uint64] = (keys ^ more) * factor
    return mixed ^ (mixed >> np.uint64(29))


def _groups(keys: NDArray[Any]) -> tuple[Places, Places]:
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[group.reshape(-1)]


def near_groups(vectors: Floats, sizes: Places, radius: float, seed: int) -> Places:
    """The leader of each vector: another one no farther than `radius` (Euclidean), or itself.

    Locality-sensitive hashing by p-stable projections (Datar, Immorlica, Indyk & Mirrokni 2004): in each round leaders
    fall into buckets; a bucket's largest group takes in what is near it, then the next, until none is left. A leader
    goes over with all of its group or not at all, so that nobody moves farther than the radius.

    Args:
        vectors: (k, width) distinct vectors.
        sizes: (k,) how many blocks each stands for.
        radius: The farthest that a vector may lie from its leader.
        seed: Of the projections.
    """
    leader = np.arange(len(vectors))
    rng = np.random.default_rng(seed)
    for _ in range(_ROUNDS):
        free = np.flatnonzero(leader == np.arange(len(vectors)))
        group_sizes = np.bincount(leader, sizes, len(vectors))
        keys = _bucket_keys(vectors[free], radius, rng)
        order = np.lexsort((-group_sizes[free], keys))
        waiting, keys = free[order], keys[order]
        for _ in range(_LEADERS):
            head = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, np.int64)
            if len(head) == len(keys):
                break
            chief = np.repeat(waiting[head], np.diff(np.append(head, len(keys))))
            joins = _near(vectors, waiting, chief, radius) & (waiting != chief)
            joins[joins] = _moved(vectors, leader, waiting[joins], chief[joins], radius)
            stays = ~joins & (waiting != chief)
            waiting, keys = waiting[stays], keys[stays]
    return leader


def _near(vectors: Floats, a: Places, b: Places, radius: float) -> NDArray[np.bool_]:
    apart = vectors[a].astype(np.float64) - vectors[b]
    near: NDArray[np.bool_] = np.einsum("ij,ij->i", apart, apart) <= radius * radius
    return near


def _moved(vectors: Floats, leader: Places, joining: Places, chief: Places, radius: float) -> NDArray[np.bool_]:
    """Which of the joining leaders went over to their chiefs: those whose whole group is near; changes `leader`."""
    goal = np.full(len(leader), -1)
    goal[joining] = chief
    members = np.flatnonzero(goal[leader] >= 0)
    whose = leader[members]
    far = ~_near(vectors, members, goal[whose], radius)
    stuck = np.zeros(len(leader), bool)
    stuck[whose[far]] = True
    going = ~stuck[whose]
    leader[members[going]] = goal[whose[going]]
    return ~stuck[joining]


def _bucket_keys(vectors: Floats, radius: float, rng: np.random.Generator) -> NDArray[np.uint64]:
    """One key a vector: cells of random projections, until buckets are small or hardly part any more."""
    keys, distinct = np.zeros(len(vectors), np.uint64), 1
    for _ in range(_PROJECTIONS):
        direction = rng.standard_normal(vectors.shape[1]) / (_WIDTH * radius)
        cells = np.floor(np.clip(vectors @ direction + rng.random(), -(2.0**62), 2.0**62)).astype(np.int64)
        keys = _mixed(keys, cells.view(np.uint64), _ODD)
        before, distinct = distinct, len(np.unique(keys))
        if len(vectors) <= _BUCKET * distinct or distinct < _PARTING * before:
            break
    return keys
