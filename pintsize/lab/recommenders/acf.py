"""Attentive collaborative filtering: a user is a vector, and what their history says, item by item."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pintsize.lab.datasets.interactions import Interactions
from pintsize.lab.recommenders._tables import drawn, every_row, some_rows
from pintsize.lab.training.ranking import RankingModel

__all__ = ["Acf"]

TINY = 1e-6


class _History(NamedTuple):
    """Histories of some users laid end to end."""

    owner: Tensor  # (entries) which of these users
    items: Tensor  # (entries)
    strength: Tensor  # (entries) exp of the attention, largest of a user 1


class Acf(RankingModel):
    """``s = (u_i + sum_l alpha(i, l) p_l) . v_j`` over the history l of user i (Chen et al. 2017, SIGIR).

    ``alpha`` is the softmax over the history of ``w . relu(W_u u + W_v v_l + W_p p_l + W_x x_l + b)``. Where items have
    components (genres, words), ``x_l = sum_m beta(i, l, m) x_lm`` with ``beta`` the softmax over the item's components
    of ``w' . relu(W'_u u + W'_x x_lm + b')``. In training, an item is not in the history by which it is scored.

    Args:
        history: Training interactions.
        user_embedding: u: (num_users) rows of d columns, ``nn.Embedding`` or what `pintsize.swap` puts there.
        item_embedding: v: (num_items) rows of d columns.
        history_embedding: p: (num_items) rows of d columns.
        components: (num_items, m) int64 component numbers from 0, -1 where an item has fewer; None without content.
        component_embedding: x: rows of d columns; None without content.
        attention: Width of both attentions.
    """

    pointers: Tensor
    indices: Tensor
    components: Tensor | None

    def __init__(
        self,
        history: Interactions,
        user_embedding: nn.Module,
        item_embedding: nn.Module,
        history_embedding: nn.Module,
        *,
        components: Tensor | None = None,
        component_embedding: nn.Module | None = None,
        embedding_dim: int = 64,
        attention: int = 16,
    ) -> None:
        super().__init__()
        self.user_embedding, self.item_embedding = user_embedding, item_embedding
        self.history_embedding, self.component_embedding = history_embedding, component_embedding
        met = history.matrix()
        self.num_users, self.num_items = history.num_users, history.num_items
        self.register_buffer("pointers", torch.from_numpy(met.indptr.astype("int64")), persistent=False)
        self.register_buffer("indices", torch.from_numpy(met.indices.astype("int64")), persistent=False)
        self.register_buffer("components", components, persistent=False)
        self.of_user = nn.Linear(embedding_dim, attention)
        self.of_item = nn.Linear(embedding_dim, attention, bias=False)
        self.of_past = nn.Linear(embedding_dim, attention, bias=False)
        self.weigh = nn.Linear(attention, 1, bias=False)  # a constant would cancel in the softmax
        if components is not None:
            self.of_content = nn.Linear(embedding_dim, attention, bias=False)
            self.user_of_component = nn.Linear(embedding_dim, attention)
            self.of_component = nn.Linear(embedding_dim, attention, bias=False)
            self.weigh_component = nn.Linear(attention, 1, bias=False)

    @classmethod
    def of(
        cls,
        history: Interactions,
        embedding_dim: int = 64,
        *,
        components: Tensor | None = None,
        deviation: float = 0.1,
        attention: int = 16,
    ) -> Acf:
        """With ``nn.Embedding`` tables, drawn from a normal distribution."""
        sizes = [history.num_users, history.num_items, history.num_items]
        if components is not None:
            sizes.append(int(components.max()) + 1)
        tables = [drawn(size, embedding_dim, deviation) for size in sizes]
        return cls(
            history,
            *tables[:3],
            components=components,
            component_embedding=tables[3] if components is not None else None,
            embedding_dim=embedding_dim,
            attention=attention,
        )

    def _histories(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Owner and item of each entry of these users' histories."""
        lengths = self.pointers[users + 1] - self.pointers[users]
        owner = torch.repeat_interleave(torch.arange(len(users), device=users.device), lengths)
        first = lengths.cumsum(0) - lengths
        place = torch.arange(len(owner), device=users.device) - first[owner] + self.pointers[users][owner]
        return owner, self.indices[place]

    def _content(self, of_users: Tensor, owner: Tensor, items: Tensor) -> Tensor:
        """(entries, d): the components of each entry's item, as its user weighs them; zeros where there are none."""
        if self.components is None or self.component_embedding is None:
            raise RuntimeError("this model has no components")
        parts = self.components[items]
        there = parts >= 0
        rows = every_row(self.component_embedding)
        keys = self.of_component(rows)
        hidden = torch.relu(
            self.user_of_component(of_users)[owner][:, None] + nn.functional.embedding(parts.clamp_min(0), keys)
        )
        weights = self.weigh_component(hidden)[:, :, 0].masked_fill(~there, -torch.inf)
        weights = torch.nan_to_num(torch.softmax(weights, dim=1))  # an item without components: 0 / 0
        found: Tensor = nn.functional.embedding_bag(
            parts.clamp_min(0), rows, mode="sum", per_sample_weights=weights.masked_fill(~there, 0.0)
        )
        return found

    def _attended(self, users: Tensor, of_users: Tensor) -> _History:
        owner, items = self._histories(users)
        past = self.of_item(every_row(self.item_embedding)) + self.of_past(every_row(self.history_embedding))
        hidden = nn.functional.embedding(owner, self.of_user(of_users)) + nn.functional.embedding(items, past)
        if self.components is not None:
            hidden = hidden + self.of_content(self._content(of_users, owner, items))
        logits = self.weigh(torch.relu(hidden))[:, 0]
        highest = torch.full((len(users),), -torch.inf, device=users.device, dtype=logits.dtype)
        highest = highest.scatter_reduce(0, owner, logits.detach(), "amax")
        return _History(owner, items, torch.exp(logits - highest[owner]))

    def _sums(self, found: _History, count: int) -> tuple[Tensor, Tensor]:
        """(count, d) and (count, 1): strengths times rows of the history, and strengths, summed by user."""
        rows = nn.functional.embedding(found.items, every_row(self.history_embedding))
        told = rows.new_zeros(count, rows.shape[1]).index_add(0, found.owner, found.strength[:, None] * rows)
        return told, rows.new_zeros(count).index_add(0, found.owner, found.strength)[:, None]

    def vectors(self) -> tuple[Tensor, Tensor]:
        users = torch.arange(self.num_users, device=self.pointers.device)
        of_users = some_rows(self.user_embedding, users)
        told, whole = self._sums(self._attended(users, of_users), self.num_users)
        return of_users + told / whole.clamp_min(TINY), every_row(self.item_embedding)

    def margins(self, users: Tensor, above: Tensor, below: Tensor) -> Tensor:
        distinct, place = torch.unique(users, return_inverse=True)
        of_users = some_rows(self.user_embedding, distinct)
        found = self._attended(distinct, of_users)
        told, whole = self._sums(found, len(distinct))
        # The item that is scored leaves the history: its own entry is found by its key, users' histories being sorted.
        keys = found.owner * self.num_items + found.items
        entry = torch.searchsorted(keys, place * self.num_items + above)
        own = found.strength[entry][:, None]
        told = told[place] - own * some_rows(self.history_embedding, above)
        whole = whole[place] - own
        queries = of_users[place] + torch.where(whole > TINY, told / whole.clamp_min(TINY), 0.0)
        apart = some_rows(self.item_embedding, above) - some_rows(self.item_embedding, below)
        return (queries * apart).sum(dim=1)

    def learned(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return some_rows(self.user_embedding, users), torch.cat(
            [some_rows(self.item_embedding, items), some_rows(self.history_embedding, items)]
        )
