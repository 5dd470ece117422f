"""What every benchmark writes beside its numbers: how, with what and on what they were made."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def provenance(*packages: str) -> dict[str, Any]:
    """Command (of absolute paths the last part), commit, versions and processor of this run."""
    return {
        "command": shlex.join(["python", *(Path(a).name if Path(a).is_absolute() else a for a in sys.argv)]),
        "commit": _git("rev-parse", "HEAD") + ("+" if _git("status", "--porcelain", "--untracked-files=no") else ""),
        "python": platform.python_version(),
        "processor": _processor(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def write(name: str, content: dict[str, Any]) -> Path:
    """Writes results/NAME.json whole, through a temporary file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    part.replace(path)
    return path
