"""Saves that are killed, and what a reader finds afterwards; run as a program, which prints its findings as JSON.

A process of its own, so that it can fork cheaply and before any library has started threads.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from pintsize.bundle import _publishing, load, save, verify
from pintsize.formats.base import CompressedTable
from pintsize.formats.dense import DenseTable


def version(number: int) -> dict[str, CompressedTable]:
    rows = np.full((300, 16), number, np.float32)
    return {"item": DenseTable(rows), "user": DenseTable(rows[:200, :8])}


def write(path: Path, number: int) -> None:
    save(version(number), path, ids={"item": [f"{number} {i}" for i in range(300)]}, notes={"number": number})


def found(path: Path) -> int:
    """The version of the bundle, which is whole."""
    verify(path)
    bundle = load(path)
    number = int(bundle.manifest["notes"]["number"])
    assert all((t.lookup(np.arange(t.num_embeddings)) == number).all() for t in bundle.values())
    assert bundle.lookup("item", f"{number} 7").shape == (16,)
    return number


def at_random(path: Path, kills: int) -> dict[str, int]:
    """Kills a process that saves one version after another, at random moments."""
    write(path, 0)
    started = time.perf_counter()
    write(path, 0)
    window = min(time.perf_counter() - started, 0.05)
    seen: set[int] = set()
    current, leftovers = 0, 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            for number in range(current + 1, current + 1000):
                write(path, number)
            os._exit(0)
        time.sleep(random.uniform(0, 3 * window))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        number = found(path)
        assert current <= number, f"version {number} came back after {current}"
        # Whatever else the machine is busy with, about as many kills come in the first save as after it.
        window *= 1.2 if number == current else 0.85
        current = number
        seen.add(number)
        leftovers += len(os.listdir(path.parent)) > 1
    write(path, -1)
    assert os.listdir(path.parent) == [path.name], "what dead processes left is cleaned by the next save"
    return {"kills": kills, "versions": len(seen), "leftovers": leftovers}


def at_every_step(path: Path, fallback: bool) -> dict[str, int]:
    """Kills one save at its first call to the system, its second, and so on, until it ends before it is killed."""
    write(path, 0)
    outcomes = {"old": 0, "new": 0, "gone": 0}
    for step in range(1, 10_000):
        child = os.fork()
        if child == 0:
            calls = 0
            if fallback:
                _publishing._exchange = lambda one, other: False

            def hook(event: str, arguments: object) -> None:
                nonlocal calls
                if event.split(".")[0] in ("os", "open", "shutil", "ctypes", "mmap", "fcntl"):
                    calls += 1
                    if calls == step:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            write(path, 1)
            os._exit(7)
        _, status = os.waitpid(child, 0)
        if not os.path.lexists(path):
            outcomes["gone"] += 1
        else:
            outcomes["new" if found(path) == 1 else "old"] += 1
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 7 and found(path) == 1
            return {"steps": step, **outcomes}
        # The next save finds what the dead one left, and starts from the old version again.
        write(path, 0)
        assert found(path) == 0 and os.listdir(path.parent) == [path.name]
    raise AssertionError("a save has fewer calls than that")


def while_read(path: Path, saves: int) -> dict[str, int]:
    """One process saves version after version, and the other reads: each time a whole one, never an older one."""
    write(path, 0)
    child = os.fork()
    if child == 0:
        for number in range(1, saves + 1):
            write(path, number)
        os._exit(0)
    last, reads = 0, 0
    while last < saves:
        number = found(path)
        assert last <= number
        last, reads = number, reads + 1
    assert os.waitpid(child, 0)[1] == 0
    return {"reads": reads}


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    for name in ("random", "steps", "fallback", "read"):
        (directory / name).mkdir()
    print(
        json.dumps(
            {
                "random": at_random(directory / "random" / "shop", int(sys.argv[2])),
                "steps": at_every_step(directory / "steps" / "shop", fallback=False),
                "fallback": at_every_step(directory / "fallback" / "shop", fallback=True),
                "read": while_read(directory / "read" / "shop", 40),
            }
        )
    )
