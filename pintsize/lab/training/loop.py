"""The loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pintsize.errors import MethodError
from pintsize.lab.training.record import Epoch, History, Log, load_state, save_state
from pintsize.lab.training.task import Task
from pintsize.swapping import Swapped

__all__ = ["train"]

Progress = Callable[[int, int, int, float], None]
"""Called after each batch with the epoch, batches done and in all, and the mean loss so far."""


def train(
    model: nn.Module,
    task: Task,
    optimizers: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
    *,
    epochs: int,
    seed: int = 0,
    patience: int | None = None,
    evaluate_every: int = 1,
    swapped: Swapped | None = None,
    search: torch.optim.Optimizer | None = None,
    clip: float | None = None,
    folder: str | Path | None = None,
    checkpoint_steps: int | None = None,
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> History:
    """Trains until the epochs are done or the metric no longer rises, and leaves the best epoch's state in the model.

    The same model, seed and machine give the same bits; so does a run that was killed at any moment and called again
    with the same arguments and `folder`.

    Args:
        model: What is trained, in place.
        task: Batches, loss and evaluation.
        optimizers: One, or several that step together.
        epochs: Passes over the training part at most.
        seed: Decides the order of batches and what is sampled; the model is drawn by the caller.
        patience: Evaluations without a better `task.metric` after which the run stops; None never stops.
        evaluate_every: Epochs between evaluations; the last epoch is always evaluated.
        swapped: What `pintsize.swap` gave for this model: its penalty and schedule become part of each step.
        search: Optimizer of `swapped.search_parameters()`: it steps on a validation batch before each training batch.
        clip: Largest norm of all gradients together; None for any.
        folder: Where ``checkpoint.pt`` and ``log.jsonl`` are kept, and found again; None keeps nothing.
        checkpoint_steps: Batches between checkpoints, beside the one at the end of each epoch.
        tensorboard: Write TensorBoard's events into the folder.
        progress: Called after each batch.

    Returns:
        The figures of each epoch.

    Raises:
        MethodError: The loss is not a number, or the arguments do not fit one another.
        TableError: The folder holds a checkpoint of something else.
    """
    if epochs < 1 or evaluate_every < 1 or (patience is not None and patience < 1):
        raise MethodError("epochs, evaluate_every and patience are 1 or more")
    if checkpoint_steps is not None and folder is None:
        raise MethodError("checkpoint_steps needs a folder to keep checkpoints in")
    steppers = [optimizers] if isinstance(optimizers, torch.optim.Optimizer) else list(optimizers)
    steps = task.steps()
    if not steps:
        raise MethodError("there is nothing to train on: the training part is empty")
    kept = _Kept(model, steppers, search, None if folder is None else Path(folder), {"seed": seed, "steps": steps})
    epoch, step, total = kept.resume()
    log = Log(kept.folder, tensorboard=tensorboard)
    history = kept.history
    while epoch < epochs and not history.stopped_early:
        start = time.perf_counter()
        task.begin_epoch(seed, epoch)
        model.train()
        while step < steps:
            if search is not None:
                search.zero_grad(set_to_none=True)
                task.search_loss(model, step).backward()  # type: ignore[no-untyped-call]
                search.step()
            total += _step(model, task, steppers, step, swapped, clip)
            step += 1
            if progress is not None:
                progress(epoch, step, steps, total / step)
            if checkpoint_steps is not None and step % checkpoint_steps == 0 and step < steps:
                kept.save((epoch, step, total))
        metrics: dict[str, float] = {}
        if (epoch + 1) % evaluate_every == 0 or epoch + 1 == epochs:
            model.eval()
            with torch.no_grad():
                metrics = task.evaluate(model)
            kept.compare(epoch, metrics.get(task.metric), patience)
        history.epochs.append(Epoch(epoch, total / steps, metrics, time.perf_counter() - start))
        epoch, step, total = epoch + 1, 0, 0.0
        kept.save((epoch, step, total))
        log.write(history)
    log.close()
    kept.restore_best()
    model.eval()
    return history


def _step(
    model: nn.Module,
    task: Task,
    optimizers: Sequence[torch.optim.Optimizer],
    step: int,
    swapped: Swapped | None,
    clip: float | None,
) -> float:
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss = task.loss(model, step)
    whole = loss if swapped is None else loss + swapped.penalty()
    value = float(loss.detach())
    if not torch.isfinite(whole.detach()):
        raise MethodError(f"the loss is {float(whole.detach())} at batch {step}: lower the learning rate or clip")
    if whole.requires_grad:
        whole.backward()  # type: ignore[no-untyped-call]
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer in optimizers:
        optimizer.step()
    if swapped is not None:
        swapped.after_step()
    return value


class _Kept:
    """The state of a run: in the objects, and on disk."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        search: torch.optim.Optimizer | None,
        folder: Path | None,
        belongs: dict[str, int],
    ) -> None:
        self.model = model
        self.belongs = belongs | {"optimizers": len(optimizers) + (search is not None)}
        self.optimizers = [*optimizers, *([] if search is None else [search])]
        self.folder = folder
        self.history = History()
        self.best: dict[str, Any] | None = None

    def resume(self) -> tuple[int, int, float]:
        """Where to go on: epoch, step in it, and the sum of its losses so far."""
        if self.folder is None or not (self.folder / "checkpoint.pt").exists():
            return 0, 0, 0.0
        path = self.folder / "checkpoint.pt"
        state = load_state(path)
        if state["belongs"] != self.belongs:
            raise MethodError(
                f"{path}: of a run with {_listed(state['belongs'])}; found {_listed(self.belongs)}: "
                "use another folder, or delete it"
            )
        try:
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
        except (RuntimeError, ValueError, KeyError) as error:
            raise MethodError(f"{path}: of another model ({error}); use another folder, or delete it") from None
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available() and state["random_of_gpus"]:
            torch.cuda.set_rng_state_all(state["random_of_gpus"])
        self.history = History.from_plain(state["history"])
        self.best = state["best"]
        epoch, step, total = state["place"]
        return int(epoch), int(step), float(total)

    def save(self, place: tuple[int, int, float]) -> None:
        """Everything that `resume` needs."""
        if self.folder is None:
            return
        save_state(
            self.folder / "checkpoint.pt",
            {
                "belongs": self.belongs,
                "model": self.model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "random": torch.get_rng_state(),
                "random_of_gpus": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                "history": self.history.plain(),
                "best": self.best,
                "place": list(place),
            },
        )

    def compare(self, epoch: int, value: float | None, patience: int | None) -> None:
        """Keeps this epoch's state if it is the best so far; says when to stop."""
        history = self.history
        if value is None:
            return
        if value > history.best:
            history.best, history.best_epoch = value, epoch
            self.best = copy.deepcopy(self.model.state_dict())
            return
        worse = sum(1 for past in history.epochs if past.metrics and past.epoch > history.best_epoch) + 1
        history.stopped_early = patience is not None and worse >= patience

    def restore_best(self) -> None:
        """The best epoch's state into the model, if epochs were compared."""
        if self.best is not None:
            self.model.load_state_dict(self.best)


def _listed(values: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
