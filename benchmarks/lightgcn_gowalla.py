"""LightGCN on Gowalla: 64 columns, 3 layers, full ranking over all users.

    python benchmarks/lightgcn_gowalla.py --data DIRECTORY_OF_GOWALLA --holdout    (chooses the number of epochs)
    python benchmarks/lightgcn_gowalla.py --data DIRECTORY_OF_GOWALLA

The first command trains on nine tenths of the training interactions and judges every epoch on the last tenth; the
second trains on all of them for as many epochs as were best there, and looks at the test part once. The loss is the
softmax over the items of a batch. The vectors are kept as a float16 bundle, `vectors/lightgcn_gowalla`, for later
benchmarks. Published (He et al. 2020): Recall@20 0.1830, NDCG@20 0.1554, by BPR in up to 1,000 epochs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import RESULTS, provenance, write

import pintsize as pz
from pintsize.evaluation.ranking import ranking_metrics
from pintsize.lab.datasets.gowalla import read_gowalla
from pintsize.lab.datasets.interactions import Interactions, Split, random_split
from pintsize.lab.recommenders.lightgcn import LightGcn
from pintsize.lab.training import History, RankingTask, train

VECTORS = Path(__file__).parent / "vectors" / "lightgcn_gowalla"
SETTINGS = {"batch_size": 4096, "ranking": "softmax", "temperature": 0.1, "decay": 1e-4}
LEARNING_RATE = 0.003


def shown(epoch: int, done: int, of: int, loss: float) -> None:
    if done == of:
        print(f"epoch {epoch}: loss {loss:.4f}", flush=True)


def trained(
    training: Interactions, validation: Interactions | None, seed: int, epochs: int, folder: Path | None
) -> tuple[LightGcn, History]:
    torch.manual_seed(seed)
    model = LightGcn.of(training)
    task = RankingTask(training, validation, **SETTINGS)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    history = train(
        model, task, optimizer, epochs=epochs, seed=seed, patience=3 if validation else None, folder=folder,
        progress=shown,
    )  # fmt: skip
    return model, history


def judged(model: LightGcn, split: Split) -> dict[str, float]:
    users, items = (vectors.detach().numpy() for vectors in model.vectors())
    met, test = split.train.matrix(), split.test.matrix()
    found = ranking_metrics(users, items, (test.indptr, test.indices), exclude=(met.indptr, met.indices), k=20)
    return {
        "recall": found.recall.mean, "recall_error": found.recall.standard_error,
        "ndcg": found.ndcg.mean, "ndcg_error": found.ndcg.standard_error,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--holdout", action="store_true", help="judge epochs on a tenth of the training part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="at most, with --holdout; exactly, without")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where checkpoints are kept: a run that was cut goes on")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    split = read_gowalla(arguments.data)
    path = RESULTS / "lightgcn_gowalla.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    start = time.perf_counter()
    about: dict[str, Any] = {"seed": arguments.seed, "threads": arguments.threads, "learning_rate": LEARNING_RATE}
    about |= {"columns": 64, "layers": 3, "settings": SETTINGS}
    if arguments.holdout:
        parts = random_split(split.train, share=0.1, seed=1)
        _, history = trained(parts.train, parts.test, arguments.seed, arguments.epochs or 60, arguments.folder)
        kept["holdout"] = about | provenance("numpy", "torch") | {"best_epochs": history.best_epoch + 1}
    else:
        epochs = arguments.epochs or kept["holdout"]["best_epochs"]
        model, history = trained(split.train, None, arguments.seed, epochs, arguments.folder)
        kept["test"] = about | provenance("numpy", "torch") | {"epochs": epochs} | judged(model, split)
        tables = dict(zip(("user", "item"), (v.detach().numpy() for v in model.vectors()), strict=True))
        pz.compress_source(
            {name: pz.EmbeddingTable(np.ascontiguousarray(rows)) for name, rows in tables.items()},
            "float16",
            out=VECTORS,
        )
    part = kept["holdout" if arguments.holdout else "test"]
    part["log"] = history.plain()["epochs"]
    part["seconds"] = time.perf_counter() - start
    kept["results"] = [
        {"run": name, "recall": run["recall"], "ndcg": run["ndcg"], "epochs": run["epochs"], "seconds": run["seconds"]}
        for name, run in kept.items()
        if name == "test"
    ]
    print({key: value for key, value in part.items() if key not in ("log", "versions")})
    write("lightgcn_gowalla", kept)


if __name__ == "__main__":
    main()
