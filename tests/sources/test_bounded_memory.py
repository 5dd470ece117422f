"""Tables larger than what a process may hold: 2 GB go through in less than 300 MB."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest

LIMIT_MB = 300


def npy(rows: int, columns: int) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)})
    return header.getvalue()


def brain_floats(rows: int, columns: int) -> bytes:
    entry = {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [0, 2 * rows * columns]}
    text = json.dumps({"w": entry}).encode()
    return len(text).to_bytes(8, "little") + text


# Not getrusage: its peak outlives exec, and would be that of the process that runs the tests.
PEAK = 'print(int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) // 1024)'


@pytest.mark.parametrize(
    ("name", "header", "size"),
    [
        pytest.param("x.npy", npy(2**20, 512), 2**31, id="npy"),
        pytest.param("x.safetensors", brain_floats(2**20, 256), 2**29, id="safetensors"),
    ],
)
def test_large_files_stream_in_bounded_memory(tmp_path, name, header, size) -> None:
    with (tmp_path / name).open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    code = f"""
from pintsize.sources import open_source
(table,) = open_source("{tmp_path}/{name}").values()
done = sum(len(rows) for _, rows in table.chunks())
assert done == table.num_embeddings
{PEAK}
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(ran.stdout) < LIMIT_MB


@pytest.mark.parametrize("kind", ["npz", "safetensors", "parquet"])
def test_writing_holds_a_chunk_and_not_the_table(tmp_path, kind) -> None:
    code = f"""
import numpy as np
from pintsize.sources import open_source, write_source
from pintsize.table import EmbeddingTable
class Zeros:
    shape, dtype = (2**19, 192), np.dtype("f4")
    def __getitem__(self, key):
        start, stop, _ = key.indices(self.shape[0])
        return np.zeros((stop - start, self.shape[1]), "f4")
write_source({{"x": EmbeddingTable(Zeros())}}, "{tmp_path}/x.{kind}")
assert sum(len(rows) for _, rows in open_source("{tmp_path}/x.{kind}")["x"].chunks()) == 2**19
{PEAK}
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(ran.stdout) < LIMIT_MB
