"""A model with tables that are trained in their compressed form: what its training loop and its release call."""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pintsize.bundle import Bundle, load, save
from pintsize.errors import MethodError
from pintsize.methods.trainable import TrainableEmbedding
from pintsize.swapping._places import put
from pintsize.swapping._slots import Slot
from pintsize.swapping._watch import Watch

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Swapped"]


class Swapped:
    """The tables in a model that `swap` has worked on.

    A training step is::

        loss = criterion(model(batch), target) + swapped.penalty()
        loss.backward()
        optimizer.step()
        swapped.after_step()

    Args:
        model: A model with swapped embeddings; ``Swapped(copy)`` takes up a copy of one, or one that was unpickled.

    Raises:
        MethodError: Nothing in the model was swapped.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._watch = Watch()
        self._slots: dict[str, Slot] = {}
        self._find()

    def _find(self) -> None:
        modules = self.model.named_modules(remove_duplicate=False)
        self._slots = {name: module for name, module in modules if isinstance(module, Slot)}
        if not self._slots:
            raise MethodError("this model has no swapped embeddings (any more); pintsize.swap puts them in")
        for slot in self._slots.values():
            scheduled = type(slot.table).after_step is not TrainableEmbedding.after_step
            slot.watch = self._watch if scheduled else None

    @property
    def tables(self) -> dict[str, TrainableEmbedding]:
        """The tables by the name of their module; one that stands in several places goes by its first name."""
        found: dict[int, tuple[str, TrainableEmbedding]] = {}
        for name, slot in self._slots.items():
            found.setdefault(id(slot.table), (name, slot.table))
        return dict(found.values())

    def penalty(self) -> Tensor:
        """A scalar to be added to the loss: the sum of what the methods ask for, zero where they ask for nothing."""
        parts = [table.penalty() for table in self.tables.values()]
        total = parts[0]
        for part in parts[1:]:
            total = total + part.to(total.device)
        return total

    @torch.no_grad()
    def after_step(self) -> None:
        """Called after each step of the optimizer. Steps are counted from 1, and kept in the model's ``state_dict``."""
        done: dict[int, int] = {}
        for slot in {id(slot): slot for slot in self._slots.values()}.values():
            if id(slot.table) not in done:
                done[id(slot.table)] = slot.count()
                slot.table.after_step(done[id(slot.table)])
            else:
                slot.count()
        self._watch.stepped()

    def search_parameters(self) -> list[nn.Parameter]:
        """The second parameter group of bilevel methods: trained on validation batches, and not with the rest."""
        return [parameter for table in self.tables.values() for parameter in table.search_parameters()]

    def retrain(self) -> Self:
        """Begins the second phase of two-phase methods: their tables are replaced; one-phase tables stay as they are.

        Parameters are new: make the optimizer anew. Steps of the tables that were replaced count from zero.

        Raises:
            MethodError: No method in the model has a second phase.
        """
        tables = list(self.tables.values())
        two = [table for table in tables if type(table).retrain is not TrainableEmbedding.retrain]
        if not two:
            raise MethodError("no method in this model has a second phase: there is nothing to retrain")
        following = {id(table): table.retrain() for table in two}
        for slot in {id(slot): slot for slot in self._slots.values()}.values():
            if id(slot.table) in following:
                slot.table = following[id(slot.table)].to(slot.steps.device).train(slot.training)
                slot.restart()
        self._find()
        return self

    @torch.no_grad()
    def freeze(self, path: str | os.PathLike[str] | None = None) -> Bundle:
        """Writes what is served, as a bundle whose tables are named as the modules are.

        A table that stands in several places is stored once, under its first name; the manifest's notes say which names
        are ``tied`` to which, and which rows are ``padding`` (a table knows no padding: leave those rows out).

        Args:
            path: Where the bundle goes. None: a temporary directory that is removed when the bundle is no longer used.

        Raises:
            BundleError: The bundle cannot be written.
        """
        tables = self.tables
        first = {id(table): name for name, table in tables.items()}
        notes = {
            "tied": {n: first[id(s.table)] for n, s in self._slots.items() if n != first[id(s.table)]},
            "padding": {n: s.padding_idx for n, s in self._slots.items() if s.padding_idx is not None},
        }
        frozen = {name: table.freeze() for name, table in tables.items()}
        methods = {name: str(self._slots[name].method) for name in tables}
        if path is not None:
            save(frozen, path, methods=methods, notes=notes)
            return load(path)
        place = tempfile.TemporaryDirectory(prefix="pintsize-")
        try:
            save(frozen, os.path.join(place.name, "bundle"), methods=methods, notes=notes)
            bundle = load(os.path.join(place.name, "bundle"))
        except BaseException:
            place.cleanup()
            raise
        # Tables that outlive the bundle keep their mapped files: unlinking takes only the names away.
        weakref.finalize(bundle, place.cleanup)
        return bundle

    @torch.no_grad()
    def restore(self) -> Any:
        """Puts torch's own embeddings back, with the rows that would be served; returns the model.

        Rows of padding are zeros. What was tied is tied. This object has then nothing more to do.
        """
        weights: dict[int, nn.Parameter] = {}
        made: dict[int, nn.Module] = {}
        for name, slot in self._slots.items():
            if id(slot.table) not in weights:
                weights[id(slot.table)] = self._decoded(slot)
            if id(slot) not in made:
                made[id(slot)] = slot.restored(weights[id(slot.table)])
            put(self.model, name, made[id(slot)])
        self._slots = {}
        return self.model

    def _decoded(self, slot: Slot) -> nn.Parameter:
        rows = torch.as_tensor(slot.table.freeze().lookup(torch.arange(slot.num_embeddings)))
        for other in self._slots.values():
            if other.table is slot.table and other.padding_idx is not None:
                rows[other.padding_idx] = 0
        return nn.Parameter(rows.to(slot.steps.device, slot.result_dtype))
