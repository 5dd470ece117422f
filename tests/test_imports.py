"""What an import costs, by what it brings in: a time would depend on the machine."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"faiss", "openTSNE", "plotly", "polars", "pyarrow", "pydantic", "rich", "scipy", "sklearn", "torch", "typer"}
TRAINING = {"triton", *HEAVY} - {"pyarrow"}


def brought_in(code: str) -> set[str]:
    """Top-level modules that a new interpreter has after running the code."""
    listing = "import sys, json; print(json.dumps([name for name in sys.modules if '.' not in name]))"
    run = subprocess.run([sys.executable, "-c", f"{code}\n{listing}"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_the_package_alone_brings_in_nothing_heavy() -> None:
    assert brought_in("import pintsize") & (HEAVY | {"numpy"}) == set()


@pytest.mark.parametrize(
    "name", ["kernels", "table", "formats.base", "formats.scalar", "formats.codebook", "bundle", "search"]
)
def test_what_serves_needs_no_training_stack(name: str) -> None:
    assert brought_in(f"import pintsize.{name}") & TRAINING == set()


def test_a_look_up_needs_no_training_stack() -> None:
    code = (
        "import numpy as np\n"
        "from pintsize.formats.dense import DenseTable\n"
        "table = DenseTable(np.eye(4, dtype=np.float32), 'float32')\n"
        "table.lookup([3]); table.bag([0, 1], [0]); table.topk(np.eye(4, dtype=np.float32), 2)"
    )
    assert brought_in(code) & HEAVY == set()


def test_without_kernels_one_warning_says_so() -> None:
    code = (
        "import sys, warnings\n"
        "sys.modules['pintsize.kernels._native'] = None\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    import pintsize.kernels, pintsize.table, pintsize.formats.base\n"
        "assert pintsize.kernels.native() is None\n"
        "print([str(w.message)[:57] for w in seen if w.category is RuntimeWarning])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "['Pintsize was installed without its compiled kernels and r']", run.stderr


def test_methods_that_also_work_after_training_are_named_without_torch() -> None:
    code = (
        "from pintsize.methods.spec import parse\n"
        "for spec in ('binary', 'ternary', 'mixed_precision:ratio=8'): parse(spec)"
    )
    assert "torch" not in brought_in(code)
