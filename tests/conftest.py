"""Set before NumPy and faiss are imported: on tables of test size a second BLAS thread only waits for the first."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
