"""Matrices sharded by rows: each is gathered on one rank, which orthogonalises it for all of them.

A step takes two exchanges, however many matrices there are: every rank sends its rows of a matrix to the matrix's
owner, and gets its rows of the result back. What is done to a whole matrix is what one rank alone would do, so the
numbers are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adana import rules
from adana.optim.places import sharded

__all__ = ["Shares", "on_owners", "shares_of"]


class Shares(NamedTuple):
    """Who holds which rows of some matrices, and who works on each.

    Attributes:
        group: the ranks that hold the rows, as a process group.
        rank: this one's place in it.
        rows: by matrix, rows of each rank.
        columns: by matrix.
        owners: by matrix, the rank that gathers it.
    """

    group: Any
    rank: int
    rows: list[list[int]]
    columns: list[int]
    owners: list[int]

    def of(self, members: Sequence[int]) -> Shares:
        """Those of some of the matrices."""
        return self._replace(
            rows=[self.rows[k] for k in members],
            columns=[self.columns[k] for k in members],
            owners=[self.owners[k] for k in members],
        )


def shares_of(params: Sequence[Tensor]) -> Shares | None:
    """How matrices (or tensors of their first dimension by all others) are shared out; None where they are not.

    They are where all are cut along dimension 0 over the same ranks, as ``fully_shard`` cuts them, and along nothing
    else: replicas beside (as with a mesh of two dimensions) each do all of it.
    """
    axes = {_axis(p) for p in params}
    axis = axes.pop() if len(axes) == 1 else None
    if axis is None:
        return None
    mesh, dim = axis
    ranks = mesh.size(dim)
    rows = [_rows(p.shape[0], ranks) for p in params]
    columns = [p.shape[1:].numel() for p in params]
    costs = [rules.newton_schulz_flops(sum(held), width, steps=1) for held, width in zip(rows, columns)]
    return Shares(mesh.get_group(dim), mesh.get_local_rank(dim), rows, columns, _owners(costs, ranks))


def _axis(p: Any) -> Any:
    """The mesh and its dimension over which a parameter's rows are cut."""
    if not sharded(p):
        return None
    from torch.distributed.tensor import Shard

    cut = [i for i, x in enumerate(p.placements) if not x.is_replicate()]
    if len(cut) != 1 or type(p.placements[cut[0]]) is not Shard or p.placements[cut[0]].dim != 0:
        return None
    return p.device_mesh, cut[0]


def _rows(count: int, ranks: int) -> list[int]:
    """Rows of each rank, as ``torch.chunk`` cuts them.

    >>> _rows(7, 3), _rows(1, 2)
    ([3, 3, 1], [1, 0])
    """
    size = -(-count // ranks)
    return [max(0, min(size, count - k * size)) for k in range(ranks)]


def _owners(costs: Sequence[int], ranks: int) -> list[int]:
    """A rank for each, the dearest first and each to who has least: the same on all ranks.

    >>> _owners([1, 5, 3, 3], 2)
    [0, 0, 1, 1]
    """
    loads, owners = [0] * ranks, [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda k: (-costs[k], k)):
        owners[index] = loads.index(min(loads))
        loads[owners[index]] += costs[index]
    return owners


def on_owners(shares: Shares, local: Sequence[Tensor], work: Callable[[int, Tensor], Tensor]) -> list[Tensor]:
    """``work(index, matrix)`` of whole matrices, each on its owner; what comes back are this rank's rows of it.

    Args:
        shares: of the matrices.
        local: this rank's rows of each, of one dtype.
        work: from a matrix's position and the matrix to one of its shape.
    """
    mine = [k for k, owner in enumerate(shares.owners) if owner == shares.rank]
    order = [[k for k, owner in enumerate(shares.owners) if owner == rank] for rank in range(len(shares.rows[0]))]
    out = [k for theirs in order for k in theirs]  # what this rank sends, owner by owner
    held = [shares.rows[k][shares.rank] * shares.columns[k] for k in range(len(local))]
    sent = [sum(held[k] for k in theirs) for theirs in order]
    kept = [[rows[rank] * width for rows, width in zip(shares.rows, shares.columns)] for rank in range(len(order))]
    gathered = [sum(sizes[k] for k in mine) for sizes in kept]

    received = _exchange(torch.cat([local[k].reshape(-1) for k in out]), sent, gathered, shares)
    pieces = iter(received.split([sizes[k] for sizes in kept for k in mine]))
    parts: dict[int, list[Tensor]] = {k: [] for k in mine}
    for _ in kept:
        for k in mine:
            parts[k].append(next(pieces).view(-1, shares.columns[k]))
    done = {k: work(k, torch.cat(parts[k])).split(shares.rows[k]) for k in mine}

    flat = [done[k][rank].reshape(-1) for rank in range(len(order)) for k in mine]
    back = _exchange(torch.cat(flat) if flat else local[0].new_empty(0), gathered, sent, shares)
    found: list[Any] = [None] * len(local)
    for k, rows in zip(out, back.split([held[k] for k in out])):
        found[k] = rows.view(-1, shares.columns[k])
    return found


def _exchange(x: Tensor, sent: list[int], received: list[int], shares: Shares) -> Tensor:
    """What all ranks send this one, rank by rank; ``x`` is what it sends them."""
    if x.numel() and sum(received):
        found = x.new_empty(sum(received))
        torch.distributed.all_to_all_single(found, x, received, sent, group=shares.group)
        return found
    # An empty buffer is refused, and a rank that owns no matrix has one: it sends itself one element more.
    parts, me = list(x.split(sent)), shares.rank
    parts[me] = torch.cat([parts[me], x.new_zeros(1)])
    more = [size + (rank == me) for rank, size in enumerate(received)]
    found = x.new_empty(sum(more))
    torch.distributed.all_to_all_single(found, torch.cat(parts), more, [p.numel() for p in parts], group=shares.group)
    return torch.cat([part[: received[rank]] for rank, part in enumerate(found.split(more))])
