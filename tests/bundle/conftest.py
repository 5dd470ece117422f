from __future__ import annotations

from pathlib import Path

import pytest

from pintsize.bundle import save
from tests.bundle.samples import IDS, every_format


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of every format, two of its tables with ids."""
    path = tmp_path / "shop"
    save(every_format(), path, ids=IDS)
    return path
