"""What a run has done so far: figures by epoch, kept beside the state they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pintsize.errors import TableError, require
from pintsize.sources._atomic import replacing

__all__ = ["Epoch", "History", "Log", "load_state", "save_state"]


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes:
        epoch: From 0.
        loss: Mean over its batches.
        metrics: Figures on the validation part; empty where it was not looked at.
        seconds: Wall time, evaluation included, of the process that ended it.
    """

    epoch: int
    loss: float
    metrics: Mapping[str, float]
    seconds: float


@dataclass
class History:
    """All epochs of a run, and which was the best.

    Attributes:
        epochs: In order.
        best_epoch: The epoch whose metric was highest; -1 before the first.
        best: That metric.
        stopped_early: The metric had not risen for as long as was allowed.
    """

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = -1
    best: float = float("-inf")
    stopped_early: bool = False

    def plain(self) -> dict[str, Any]:
        """As JSON knows it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> History:
        """The reverse of `plain`."""
        return cls(**plain | {"epochs": [Epoch(**epoch) for epoch in plain["epochs"]]})


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint: the old one or the new one is there at every moment, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        torch.save(state, file)


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote; nothing in it is executed.

    Raises:
        TableError: It is no checkpoint of this package.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises half a dozen kinds of errors on files that are not its own
        raise TableError(f"{path}: not a checkpoint that can be read ({error}); delete it to start anew") from None
    if not isinstance(state, dict) or not {"belongs", "model", "optimizers", "history", "place"} <= state.keys():
        raise TableError(f"{path}: a checkpoint of something else; delete it to start anew")
    return state


class Log:
    """``log.jsonl`` with a line an epoch, and TensorBoard's events where they are asked for.

    The log is rewritten from the history at each epoch: a run that was cut and resumed leaves the same lines, seconds
    apart.

    Args:
        folder: Where both go; None for nowhere.
        tensorboard: Write events too.

    Raises:
        MissingExtra: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path | None, *, tensorboard: bool = False) -> None:
        self.folder = folder
        self.events: Any = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if tensorboard:
                require("tensorboard", "lab")
                self.events = require("torch.utils.tensorboard", "lab").SummaryWriter(str(folder))

    def write(self, history: History) -> None:
        """After an epoch."""
        if self.folder is None:
            return
        with replacing(self.folder / "log.jsonl") as file:
            for epoch in history.epochs:
                file.write((json.dumps(asdict(epoch)) + "\n").encode())
        if self.events is not None:
            last = history.epochs[-1]
            for name, value in {"loss": last.loss, **last.metrics}.items():
                self.events.add_scalar(name, value, last.epoch)
            self.events.flush()

    def close(self) -> None:
        """Ends the events."""
        if self.events is not None:
            self.events.close()
