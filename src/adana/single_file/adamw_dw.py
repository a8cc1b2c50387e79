# AdamW with log-time weight decay in one file, as `adana export-optimizer adamw-dw` prints it. MIT license.
# Method: arXiv 2602.05298, Section 2. PyTorch is all that it needs.
import torch

OMEGA = 0.5


class AdamW(torch.optim.Optimizer):
    """AdamW whose weight decay is independent of the learning rate and falls with the step t = 0, 1, 2, ...

    m' = beta1 m + (1 - beta1) g,  v' = beta2 v + (1 - beta2) g^2
    u  = m'/(1 - beta1^(t+1)) / (sqrt(v'/(1 - beta2^(t+1))) + eps)
    p' = p - lr u - (lr/peak lr) omega/(T/10 + t) p

    Args:
        params: parameters or groups. A group without a "weight_decay" of its own decays its matrices alone. Put
            embeddings in a group with weight_decay 0.
        lr: peak learning rate, as AdamW's. Schedulers scale it from there; one that begins below the
            peak in the constructor (OneCycleLR) needs the peak in each group's "peak_lr".
        total_steps: T, the optimizer steps of the whole run.
        weight_decay: omega, not AdamW's value: AdamW's weight_decay * lr * total_steps. Use 0 for fine-tuning.
        betas, eps: as above.

    Parameters in bfloat16 or float16 are rounded to nearest, which loses small updates: keep float32 weights.
    """

    def __init__(self, params, lr, *, total_steps, betas=(0.9, 0.999), weight_decay=OMEGA, eps=1e-8):
        options = {"total_steps": total_steps, "weight_decay": weight_decay, "eps": eps}
        for name, value in {"lr": lr, **options}.items():
            if not (value > 0 if name == "total_steps" else value >= 0) or value == float("inf"):
                raise ValueError(f"{name} must be a finite number of at least 0 (total_steps: above), got {value!r}")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {betas!r}")
        options["betas"] = tuple(betas)
        super().__init__(params, {"lr": lr, **options, "decay_vectors": False, "peak_lr": None})

    def add_param_group(self, param_group):
        """Add a group; its lr now is its peak unless it has a peak_lr."""
        param_group.setdefault("decay_vectors", "weight_decay" in param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["peak_lr"] is None:
            group["peak_lr"] = float(group["lr"])
        if group["peak_lr"] <= 0 and group["weight_decay"]:
            raise ValueError(f"lr={group['lr']!r} is no peak that weight decay could be scaled by: set peak_lr")

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)
        return loss

    def _update(self, p, group):
        state = self.state[p]
        dtype = torch.float64 if p.dtype == torch.float64 else torch.float32
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(p, dtype=dtype)
            state["exp_avg_sq"] = torch.zeros_like(p, dtype=dtype)
        t, m, v = state["step"].item(), state["exp_avg"], state["exp_avg_sq"]
        lr, g = float(group["lr"]), p.grad.to(dtype)
        beta1, beta2 = group["betas"]
        m.mul_(beta1).add_(g, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        u = (m / (1 - beta1 ** (t + 1))).div_((v / (1 - beta2 ** (t + 1))).sqrt_().add_(group["eps"]))
        decay = 0.0
        if group["weight_decay"] and (p.ndim > 1 or group["decay_vectors"]):
            gamma = min(lr / group["peak_lr"], 1.0)
            decay = gamma * group["weight_decay"] / (group["total_steps"] / 10 + t)
        p.copy_(p.to(dtype).mul(1 - decay).sub_(u, alpha=lr))
        state["step"] += 1
