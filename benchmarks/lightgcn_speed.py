"""Seconds an epoch of LightGCN against PyTorch Geometric's, on Gowalla at the same batch size.

    python benchmarks/lightgcn_speed.py --data DIRECTORY_OF_GOWALLA           (needs torch_geometric)

Both train 64 columns and 3 layers by BPR with Adam; a step of each by turns, on the same pairs and negatives. The epoch
is that many steps. Both propagate the same rows: agreement is checked first.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alternating import by_turns, ratio
from record import provenance, write
from torch_geometric.nn.models import LightGCN

from pintsize.lab.datasets.gowalla import read_gowalla
from pintsize.lab.recommenders.lightgcn import LightGcn
from pintsize.lab.training import RankingTask

DECAY = 1e-4


def ours(model: LightGcn, task: RankingTask) -> Callable[[int], None]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step(number: int) -> None:
        optimizer.zero_grad()
        task.loss(model, max(number, 0)).backward()
        optimizer.step()

    return step


def theirs(model: LightGCN, task: RankingTask, edges: torch.Tensor) -> Callable[[int], None]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    pairs = task.training

    def step(number: int) -> None:
        chosen = task.examples(max(number, 0))
        users = pairs.users[chosen].astype(np.int64)
        labels = np.stack([pairs.items[chosen], task.unmet(users, max(number, 0))]) + pairs.num_users
        asked = torch.from_numpy(np.stack([np.stack([users, part]) for part in labels.astype(np.int64)]))
        optimizer.zero_grad()
        scores = model(edges, asked.permute(1, 0, 2).reshape(2, -1))
        above, below = scores.chunk(2)
        model.recommendation_loss(above, below, node_id=asked.unique(), lambda_reg=DECAY).backward()
        optimizer.step()

    return step


def agree(mine: LightGcn, other: LightGCN, edges: torch.Tensor) -> None:
    with torch.no_grad():
        rows = torch.cat([mine.user_embedding.weight, mine.item_embedding.weight])
        other.embedding.weight.copy_(rows)
        worst = float((torch.cat(mine.vectors()) - other.get_embedding(edges)).abs().max())
    if not worst < 1e-5:
        raise SystemExit(f"the two propagate differently: {worst} apart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    pairs = read_gowalla(arguments.data).train
    items = pairs.items.astype(np.int64) + pairs.num_users
    there = np.stack([pairs.users.astype(np.int64), items])
    edges = torch.from_numpy(np.concatenate([there, there[::-1]], axis=1))
    results: list[dict[str, Any]] = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for batch_size in arguments.batches:
            torch.manual_seed(0)
            mine, other = LightGcn.of(pairs), LightGCN(pairs.num_users + pairs.num_items, 64, 3)
            agree(mine, other, edges)
            task = RankingTask(pairs, batch_size=batch_size, decay=DECAY)
            task.begin_epoch(0, 0)
            seconds = by_turns({"ours": ours(mine, task), "theirs": theirs(other, task, edges)}, arguments.repeats)
            epoch = {side: task.steps() * statistics.median(times) for side, times in seconds.items()}
            point = {"threads": threads, "batch_size": batch_size, "steps": task.steps()}
            found = ratio(seconds["theirs"], seconds["ours"])
            results.append(point | {"epoch_seconds": epoch["ours"], "peer_epoch_seconds": epoch["theirs"]} | found)
            print(results[-1], flush=True)
    about = provenance("numpy", "torch", "torch_geometric")
    write("lightgcn_speed", about | {"repeats": arguments.repeats, "results": results})


if __name__ == "__main__":
    main()
