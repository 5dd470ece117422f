"""The loop: the same bits every time, from the start and from where it was cut."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pintsize as pz
from pintsize.errors import MethodError, TableError
from pintsize.lab.datasets.clicks import Clicks
from pintsize.lab.datasets.interactions import Interactions, random_split
from pintsize.lab.recommenders.bpr_mf import BprMf
from pintsize.lab.recommenders.lightgcn import LightGcn
from pintsize.lab.training import ClickTask, RankingTask, train
from pintsize.lab.training.clicks import predict


def blocks(users: int = 60, items: int = 40, seed: int = 0) -> Interactions:
    """Users and items of two kinds; users meet items of their own kind."""
    rng = np.random.default_rng(seed)
    met = rng.random((users, items)) < np.where(np.add.outer(np.arange(users), np.arange(items)) % 2, 0.02, 0.4)
    return Interactions(*(place.astype(np.int32) for place in np.nonzero(met)), users, items)


SPLIT = random_split(blocks(), share=0.2, seed=1)


def run(folder: Path | None = None, model: BprMf | None = None, batch_size: int = 32, **settings):
    torch.manual_seed(7)
    model = BprMf.of(60, 40, 8) if model is None else model
    task = RankingTask(SPLIT.train, SPLIT.test, batch_size=batch_size, decay=1e-4, k=5)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    history = train(model, task, optimizer, **{"epochs": 6, "seed": 3, "folder": folder} | settings)
    return history, torch.cat(model.vectors()).detach().numpy()


def figures(history):
    return [(epoch.loss, dict(epoch.metrics)) for epoch in history.epochs]


@pytest.mark.parametrize("ranking", ["bpr", "softmax"])
@pytest.mark.parametrize("kind", [BprMf, LightGcn])
def test_structure_is_found(kind, ranking):
    torch.manual_seed(0)
    model = BprMf.of(60, 40, 8) if kind is BprMf else LightGcn.of(SPLIT.train, 8, layers=2)
    task = RankingTask(SPLIT.train, SPLIT.test, batch_size=64, ranking=ranking, decay=1e-4, k=5)
    history = train(model, task, torch.optim.Adam(model.parameters(), 0.02), epochs=15)
    assert history.best > 1.5 * 5 / 40  # chance is 5 of 40 items


def test_the_same_seed_gives_the_same_bits(tmp_path):
    first, one = run()
    second, two = run(tmp_path)
    assert figures(first) == figures(second)
    np.testing.assert_array_equal(one, two)
    _, other = run(seed=4)
    assert (one != other).any()


def test_a_finished_run_is_not_repeated(tmp_path):
    first, one = run(tmp_path)
    second, two = run(tmp_path)
    assert [epoch.seconds for epoch in first.epochs] == [epoch.seconds for epoch in second.epochs]
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("cut_at", [1, 9, 14])
def test_a_cut_run_goes_on_bit_for_bit(tmp_path, cut_at):
    want, rows = run()
    batches = 0

    def cut(*_: object) -> None:
        nonlocal batches
        batches += 1
        if batches == cut_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=cut, checkpoint_steps=3)
    history, found = run(tmp_path, checkpoint_steps=3)
    assert figures(history) == figures(want)
    np.testing.assert_array_equal(found, rows)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["loss"], line["metrics"]) for line in lines] == figures(want)


KILLED = """
import sys
from pathlib import Path
from tests.lab.training.test_loop import figures, run
import json
history, rows = run(Path(sys.argv[1]), epochs=40, checkpoint_steps=2)
print(json.dumps([figures(history), rows.tolist()]))
"""


def test_a_killed_process_goes_on_bit_for_bit(tmp_path):
    def started(folder: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", KILLED, str(folder)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])

    whole = started(tmp_path / "whole")
    want, _ = whole.communicate()
    assert whole.returncode == 0
    kills = 0
    for wait in (0.02, 0.3, 0.8):
        process = started(tmp_path / "cut")
        while not (tmp_path / "cut" / "checkpoint.pt").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(wait)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills
    found, _ = started(tmp_path / "cut").communicate()
    assert json.loads(found) == json.loads(want)


def test_the_best_epoch_is_kept_and_waiting_ends():
    history, rows = run(epochs=200, patience=3)
    assert history.stopped_early
    assert len(history.epochs) == history.best_epoch + 4
    assert history.best == max(epoch.metrics["recall"] for epoch in history.epochs)
    task = RankingTask(SPLIT.train, SPLIT.test, k=5)
    model = BprMf.of(60, 40, 8)
    with torch.no_grad():
        model.user_embedding.weight.copy_(torch.from_numpy(rows[:60]))
        model.item_embedding.weight.copy_(torch.from_numpy(rows[60:]))
        assert task.evaluate(model)["recall"] == history.best


def test_methods_train_in_the_loop():
    torch.manual_seed(7)
    model = BprMf.of(60, 40, 8)
    swapped = pz.swap(model, {"user*": "lsq:bits=4", "item*": "binary"})
    run(model=model, swapped=swapped, epochs=3)
    assert int(model.user_embedding.steps) > 0
    bundle = swapped.freeze()
    np.testing.assert_allclose(
        bundle["user_embedding"].lookup(np.arange(60)), model.user_embedding.weight.detach().numpy(), atol=1e-6
    )


def test_searches_step_on_validation_batches():
    fields = np.random.default_rng(0).integers(0, 5, (200, 2)).astype(np.int32)
    labels = (fields.sum(axis=1) % 2).astype(np.uint8)
    log = Clicks(fields, labels, ("a", "b"), (5, 5), np.zeros((200, 0), np.float32))

    class Table(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.gate = torch.nn.Parameter(torch.zeros(5, 5)), torch.nn.Parameter(torch.ones(()))

        def forward(self, fields, numbers):
            return self.gate * self.weight[fields[:, 0], fields[:, 1]]

    model = Table()
    task = ClickTask(log.pick(slice(150)), log.pick(slice(150, None)), batch_size=25)
    search = torch.optim.SGD([model.gate], 0.5)
    history = train(model, task, torch.optim.Adam([model.weight], 0.1), epochs=10, search=search)
    assert history.best == 1
    assert float(model.gate.detach()) > 1  # sure answers are right on the validation part
    assert predict(model, log).shape == (200,)


def test_tensorboard_has_the_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history, _ = run(tmp_path, epochs=2, tensorboard=True)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([e.loss for e in history.epochs])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 0}, "1 or more"),
        ({"patience": 0}, "1 or more"),
        ({"checkpoint_steps": 5}, "needs a folder"),
    ],
)
def test_settings_are_checked(settings, said):
    with pytest.raises(MethodError, match=said):
        run(**settings)


def test_what_is_not_a_number_stops_the_run():
    model = BprMf.of(60, 40, 8)
    with torch.no_grad():
        model.user_embedding.weight[:] = torch.nan
    with pytest.raises(MethodError, match="loss is nan at batch 0"):
        run(model=model)


def test_checkpoints_of_something_else_are_refused(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(MethodError, match="seed 3"):
        run(tmp_path, seed=4)
    with pytest.raises(MethodError, match="another folder"):
        run(tmp_path, model=BprMf.of(60, 40, 8), batch_size=16)
    with pytest.raises(MethodError, match="of another model"):
        run(tmp_path, model=BprMf.of(60, 40, 9))
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(TableError, match="not a checkpoint"):
        run(tmp_path)
    torch.save({"weights": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(TableError, match="something else"):
        run(tmp_path)


def test_nothing_to_train_on():
    empty = Interactions(np.empty(0, np.int32), np.empty(0, np.int32), 3, 3)
    model = BprMf.of(3, 3, 2)
    with pytest.raises(MethodError, match="empty"):
        train(model, RankingTask(empty), torch.optim.Adam(model.parameters()), epochs=1)
