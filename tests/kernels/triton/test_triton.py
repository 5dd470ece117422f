"""Triton kernels: held to the twin under the interpreter (and on a GPU where there is one), and compiled for GPUs."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed (it comes with the extra dev on Linux x86-64)")

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from pintsize import kernels
from pintsize.formats.base import CompressedTable
from pintsize.kernels import triton as rows_kernels
from pintsize.kernels.triton import codebook, partition, scalar
from tests.contracts.format_cases import CASES

ROOT = Path(__file__).parents[3]
MODES = [
    pytest.param({"TRITON_INTERPRET": "1"}, id="interpreted"),
    pytest.param(
        {"TRITON_INTERPRET": "0"},
        id="on-a-gpu",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    ),
]
TARGETS = {"sm80": GPUTarget("cuda", 80, 32), "sm90": GPUTarget("cuda", 90, 32)}
POINTERS = {
    "rows": "*i64", "bounds": "*i64", "out": "*fp32", "weights": "*fp32", "records": "*u8", "grid": "*fp32",
    "signs": "*u8", "books": "*fp32", "damaged": "*i32", "part": "*u8", "before": "*i32", "own": "*u8",
    "place": "*i64", "count": "i32", "stride": "i32", "bias": "fp32", "unit": "fp32", "factor": "fp32",
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_rows_and_bags_are_those_of_the_twin(mode: dict[str, str]) -> None:
    tests = "tests/kernels/triton/against_twin.py"
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", tests]
    run = subprocess.run(command, cwd=ROOT, env={**os.environ, **mode}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "SKIPPED" not in run.stdout


def compiled(kernel: Any, settings: dict[str, Any], target: GPUTarget) -> str:
    """The assembly of a kernel with these settings; needs no GPU."""
    names = list(inspect.signature(kernel.fn).parameters)
    signature = {name: POINTERS.get(name, "constexpr") for name in names}
    constants = {(names.index(name),): value for name, value in settings.items() if name in names}
    assert set(names) == {*settings, *POINTERS} & set(names), "a parameter has neither a type nor a setting"
    options = {"enable_fp_fusion": settings.get("enable_fp_fusion", True)}
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    assembly: str = compile(source, target=target, options=options).asm["ptx"]
    return assembly


def on_torch(name: str, columns: int) -> CompressedTable:
    table = CASES[name](600, columns, np.random.default_rng(0))
    return table.map_arrays(lambda a: torch.from_numpy(np.array(a)))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["scalar-256", "scalar-3-grid", "scalar-128", "scalar-4-rotated", "scalar-2-none"])
def test_scalar_kernels_compile_for_gpus(name: str, target: str) -> None:
    layout, _ = on_torch(name, 64)._tiles(rows_kernels)  # type: ignore[attr-defined]
    settings, _ = scalar._arguments(layout)
    assert ("STEPS", 6) in settings.items() or "rotated" not in name
    # One rounding an operation, as the twin has it.
    assert "fma" not in compiled(scalar._gather, settings, TARGETS[target])
    assert "fma" not in compiled(scalar._bag, {**settings, "MEAN": False, "WEIGHTED": True}, TARGETS[target])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["codebook-8", "codebook-10", "codebook-0", "codebook-12-sum-rotated"])
def test_codebook_kernels_compile_for_gpus(name: str, target: str) -> None:
    settings, _ = codebook._arguments(on_torch(name, 60)._tiles(rows_kernels))  # type: ignore[attr-defined]
    compiled(codebook._gather, settings, TARGETS[target])
    compiled(codebook._bag, {**settings, "MEAN": True, "WEIGHTED": False}, TARGETS[target])


@pytest.mark.parametrize("target", TARGETS)
def test_the_row_map_kernel_compiles_for_gpus(target: str) -> None:
    compiled(partition._locate, {"PARTS": 3, "BLOCK": 256, "TILE_ROWS": partition._TILE_ROWS}, TARGETS[target])


def test_main_memory_is_not_served_without_the_interpreter() -> None:
    assert os.environ.get("TRITON_INTERPRET") != "1"
    assert kernels.on_device(torch.device("cpu")) is None


def test_kernels_that_fail_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", 7)
    monkeypatch.delenv("PINTSIZE_KERNELS", raising=False)
    from pintsize.kernels.triton import trial

    for fault in (lambda device: "rows are wrong", lambda device: 1 / 0):
        kernels.on_device.cache_clear()
        monkeypatch.setattr(trial, "wrong_on", fault)
        with pytest.warns(RuntimeWarning, match="not used: (rows are wrong|ZeroDivisionError)"):
            assert kernels.on_device(device) is None
    kernels.on_device.cache_clear()
    monkeypatch.setattr(trial, "wrong_on", lambda device: "")
    assert kernels.on_device(device) is rows_kernels
    kernels.on_device.cache_clear()
    monkeypatch.setenv("PINTSIZE_KERNELS", "twin")
    assert kernels.on_device(device) is None
    kernels.on_device.cache_clear()
