"""A feed-forward layer of many experts, of which each token uses a few."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MLP", "MixtureOfExperts"]


class MLP(nn.Module):
    """``down(GELU(up(x)))``, no biases (Section C.3.1)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.gelu(self.up(x)))
        return y


class MixtureOfExperts(nn.Module):
    """Each token's ``active`` likeliest experts, weighted by their probabilities; no token is dropped.

    ``p = softmax(router(x))``, ``y = sum over the top i of p_i expert_i(x)``. The probabilities are not made
    to sum to 1 again: with one active expert the router would get no gradient. Every expert keeps matrices of
    its own, so that optimizers, Muon above all, see matrices. An expert without tokens in a batch gets a
    gradient of zeros and not None: its step count goes on, and every rank has the same gradients to reduce.

    Args:
        width: of the residual stream.
        hidden: of each expert.
        experts: E, how many there are.
        active: A, how many each token uses.

    Source: top-k routing and the load-balance loss of Switch Transformers (Fedus, Zoph, Shazeer 2022, eqs. 1-6);
    the sparse gradients are those that Section B has in mind for DanaStar.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> layer = MixtureOfExperts(width=8, hidden=16, experts=4, active=2)
        >>> y, balance = layer(torch.randn(2, 3, 8))
        >>> y.shape, balance.shape
        (torch.Size([2, 3, 8]), torch.Size([]))
    """

    def __init__(self, width: int, hidden: int, experts: int, active: int) -> None:
        super().__init__()
        self.active = active
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(MLP(width, hidden) for _ in range(experts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output of x's shape, and the load-balance loss ``E sum_i f_i P_i``.

        f_i is the share of assignments that went to expert i, P_i its mean probability; 1 when balanced, E
        when one expert takes all.
        """
        tokens = x.flatten(0, -2)
        count = len(self.experts)
        with torch.autocast(x.device.type, enabled=False):  # bf16 probabilities would tie, and ties route alike
            probability = F.linear(tokens.float(), self.router.weight.float()).softmax(-1)
        weight, chosen = probability.topk(self.active, dim=-1)
        assigned = chosen.flatten()
        order = assigned.argsort(stable=True)
        load = torch.bincount(assigned, minlength=count)
        rows = tokens[order // self.active].split(load.tolist())
        done = torch.cat([expert(chunk) for expert, chunk in zip(self.experts, rows)])
        each = done[order.argsort()].unflatten(0, (-1, self.active))
        y = (each * weight.unsqueeze(-1).type_as(each)).sum(1).view_as(x)
        balance = count * (load / assigned.numel() * probability.mean(0)).sum()
        return y, balance
