"""The embeddings of a model: where they are, which share a weight, and which cannot be replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from pintsize.errors import MethodError

__all__ = ["Group", "check", "embeddings", "put"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass
class Group:
    """Embeddings over one weight: one module under several names, or several modules."""

    weight: Tensor
    places: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return list(self.places)


def _identity(weight: Tensor) -> Any:
    """Two parameters over one memory are as tied as one parameter in two places."""
    if weight.numel() == 0 or weight.is_meta:
        return id(weight)
    return weight.device, weight.data_ptr(), tuple(weight.shape)


def embeddings(model: nn.Module) -> list[Group]:
    """Every embedding of the model, in the order of its modules, by the weight that it reads."""
    groups: dict[Any, Group] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            groups.setdefault(_identity(module.weight), Group(module.weight)).places[name] = module
    return list(groups.values())


def check(model: nn.Module, group: Group) -> None:
    """Refuses what a compressed table cannot do.

    Raises:
        MethodError: It says what, and what to do.
    """
    for name, module in group.places.items():
        reason = _reason(name, module)
        if reason is not None:
            raise MethodError(f"{name or 'the model'} cannot be replaced: {reason}")
    own = set(map(id, group.places.values()))
    identity = _identity(group.weight)
    for name, module in model.named_modules(remove_duplicate=False):
        if id(module) in own:
            continue
        for key, parameter in module._parameters.items():
            if parameter is not None and _identity(parameter) == identity:
                raise MethodError(
                    f"{group.names[0]} cannot be replaced: its weight is also {name}.{key} of a "
                    f"{type(module).__name__}, which needs it as a parameter; untie them, or compute those scores from "
                    "the embedding's own weight property after the swap"
                )


def _reason(name: str, module: Any) -> str | None:
    base = nn.Embedding if isinstance(module, nn.Embedding) else nn.EmbeddingBag
    own_forward = type(module).forward is not base.forward and not parametrize.is_parametrized(module)
    reasons = {
        "the model is itself an embedding; put it into a module": not name,
        "max_norm scales rows in place at each look-up, which a compressed row cannot; set it to None": (
            module.max_norm is not None
        ),
        "sparse=True asks for sparse gradients, and methods give dense ones; set it to False": module.sparse,
        "scale_grad_by_freq divides gradients inside torch's own look-up; set it to False": module.scale_grad_by_freq,
        "its weight is on the meta device; give it values first": module.weight.is_meta,
        "its weight has requires_grad=False and is not trained; pintsize.compress makes it small": (
            not module.weight.requires_grad
        ),
        "its weight is parametrized; remove the parametrization first": parametrize.is_parametrized(module),
        f"{type(module).__name__} has a forward of its own, which would be lost": own_forward,
        "it has hooks, which would be lost; register them after the swap": any(getattr(module, h) for h in _HOOKS),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module where another stands."""
    parent, _, leaf = name.rpartition(".")
    model.get_submodule(parent)._modules[leaf] = module
