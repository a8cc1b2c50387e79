"""The family in plain NumPy, written from the paper's algorithms and sharing no code with the package.

Deliberately long-winded: one branch an algorithm, its lines in the paper's order.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def gamma(t: int, T: int) -> float:
    warm = T / 50
    if t < warm:
        return 0.01 + 0.99 * t / warm
    return 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (t - warm) / (T - warm)))


def newton_schulz(x: np.ndarray, steps: int) -> np.ndarray:
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if tall else x


def run(
    name: str, theta: np.ndarray, grads: list[np.ndarray], gammas: list[float], peak: float, **o: Any
) -> np.ndarray:
    """Parameters after all gradients; ``o`` are constructor options, defaults filled in here."""
    T = o.get("total_steps")
    delta = o.get("delta", 8.0)
    kappa = o.get("kappa", 0.85)
    scale = o.get("damping_scale", 1.0)
    omega = o.get("weight_decay", 0.5)
    eps = o.get("eps", 1e-8)
    clip = o.get("clip_snr", 2.0)
    released = o.get("form", "paper") == "released"

    def damped(damping: str, t: float, linear: float) -> float:
        if damping == "power":
            return scale * (1 + t) ** (1 - kappa)
        if damping == "linear":
            return scale * T ** (-kappa) * linear
        return (delta + t) / delta

    def orthogonal(mixed: np.ndarray) -> np.ndarray:
        x = mixed / (np.linalg.norm(mixed) + eps)
        return o.get("rms", 0.2) * np.sqrt(max(mixed.shape)) * newton_schulz(x, o.get("ns_steps", 5))

    theta = theta.astype(np.float64).copy()
    m, v, tau, short, long = (np.zeros_like(theta) for _ in range(5))
    for t, (g, gam) in enumerate(zip(grads, gammas)):
        if o.get("maximize"):
            g = -g
        clock = t + 1 if released else t
        if o.get("decay", "log") == "constant":
            lam = omega / T if omega else 0.0
        else:
            t0 = o.get("weight_decay_offset") or (T / 10 if T else None)
            lam = omega / (t0 + clock) if omega else 0.0
        w_sq = delta / (delta + clock)
        b_sq = 1 - w_sq
        turn = (1 - o["cooldown"]) * T if "cooldown" in o else np.inf
        if t > turn:
            clock = turn - 0.9 * turn * min((t - turn) / (T - turn), 1)
        w = delta / (delta + clock)
        b = 1 - w

        if released:
            m = b * m + w * g
            v = b * v + w * g**2
            d = np.sqrt(v) + eps
            if "star" in name:
                tau = b * tau + w * np.abs(g) / (np.abs(g) + d)
                c = np.minimum(tau, 0.5)
                prob = np.maximum(c / (1 - c), 1 / (1 + clock))
                a = np.maximum(clock * tau, 1) ** (1 - kappa)
            else:
                prob = np.ones_like(g)
                a = (1 + clock) ** (1 - kappa)
            norm = np.sqrt(prob) / d
            f = a * np.abs(m) * norm / prob
            if "mk4" in name:
                f = np.minimum(f, clip)
            u = g * norm + scale * np.sign(m) * (prob * f + np.abs(m) * norm)
            theta = (theta - gam * peak * u) * (1 - gam * lam)
            continue

        if name in ("adana", "log-adamw", "log-nadamw"):
            b1 = o.get("beta1")
            m = b * m + w * g if b1 is None else b1 * m + (1 - b1) * g
            m_hat = m if b1 is None else m / (1 - b1 ** (t + 1))
            beta2 = o.get("beta2")
            if beta2 is None:
                v = b_sq * v + w_sq * g**2
                v_hat = v
            else:
                v = beta2 * v + (1 - beta2) * g**2
                v_hat = v / (1 - beta2 ** (t + 1))
            damping = {"log-nadamw": "nesterov"}.get(name, o.get("damping", "power"))
            alpha = 1.0 if name == "log-adamw" else damped(damping, clock, clock)
            first = g
            if o.get("beta3") is not None:
                short = o["beta3"] * short + (1 - o["beta3"]) * g
                first = short / (1 - o["beta3"] ** (t + 1))
            if name == "log-adamw" or not o.get("gradient_term", True):
                first = 0 * g
            u = (first + alpha * m_hat) / (np.sqrt(v_hat + o.get("eps_root", 0.0)) + eps)
        elif name == "adamw":
            beta1, beta2 = o.get("betas", (0.9, 0.999))
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            m_hat, v_hat = m / (1 - beta1 ** (t + 1)), v / (1 - beta2 ** (t + 1))
            u = (m_hat + (g if o.get("nesterov") else 0)) / (np.sqrt(v_hat) + eps)
        elif name == "ademamix":
            b3, b2, target = o.get("beta3", 0.9), o.get("beta2", 0.999), 1 - delta / T
            x = t / T
            warmed = np.exp(np.log(b3) * np.log(target) / ((1 - x) * np.log(target) + x * np.log(b3)))
            b1 = min(warmed, target)
            short = b3 * short + (1 - b3) * g
            long = b1 * long + (1 - b1) * g
            v = b2 * v + (1 - b2) * g**2
            alpha = min(t / T, 1) * T ** (1 - kappa)
            u = (short / (1 - b3 ** (t + 1)) + alpha * long) / (np.sqrt(v / (1 - b2 ** (t + 1))) + eps)
        elif name == "amcs":
            b1, b2, b3 = o.get("beta1", 0.95), o.get("beta2", 0.999), o.get("beta3", 0.9)
            short = b3 * short + (1 - b3) * g
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g**2
            a = max(1 - t / T, 0)
            mixed = a * short / (1 - b3 ** (t + 1)) + (1 - a) * m / (1 - b1 ** (t + 1))
            u = mixed / (np.sqrt(v / (1 - b2 ** (t + 1))) + eps)
        elif name == "dana":
            m = b * m + w * g
            damping = o.get("damping", "power")
            alpha = damped(damping, t, 1 + t)
            theta = theta - gam * peak * (g + alpha * m)
            continue
        elif name == "muon":
            if o.get("log_time"):
                m = b * m + w * g
                damping = o.get("damping", "power")
                alpha = damped(damping, t, t)
                mixed = g + alpha * m
            else:
                mu = o.get("momentum", 0.95)
                m = mu * m + g
                mixed = g + mu * m if o.get("nesterov", True) else m
            u = orthogonal(mixed)
        elif name == "log-muon":
            b1 = o.get("beta1")
            m = b * m + w * g if b1 is None else b1 * m + (1 - b1) * g
            m_hat = m if b1 is None else m / (1 - b1 ** (t + 1))
            mixed = g * o.get("gradient_term", True) + damped(o.get("damping", "power"), clock, clock) * m_hat
            u = orthogonal(mixed)
        else:
            m = b * m + w * g
            v = b_sq * v + w_sq * g**2
            d = np.sqrt(v) + eps
            if name == "dana-mk4":
                norm = 1 / d
                mfac = np.abs(m) * norm
                growth = np.inf if t == 0 and kappa > 1 else scale * clock ** (1 - kappa)
                afac = np.minimum(np.where(mfac > 0, growth, 0.0) * mfac, clip)
                u = g * norm + np.sign(m) * (afac + np.abs(m) * norm)
            else:
                tau = b * tau + w * np.abs(g) / (np.abs(g) + d)
                t_eff = np.maximum(clock * tau, 1)
                c = np.minimum(tau, 0.5)
                prob = np.maximum(c / (1 - c), 1 / (1 + clock))
                if name == "dana-star":
                    u = np.sqrt(prob) * (g + scale * (1 + t_eff) ** (1 - kappa) * m) / d
                else:
                    norm = np.sqrt(prob) / d
                    mfac = np.abs(m) * norm / prob
                    afac = np.minimum(scale * t_eff ** (1 - kappa) * mfac, clip)
                    u = g * norm + np.sign(m) * (prob * afac + np.abs(m) * norm)
        theta = theta - gam * (peak * u + lam * theta)
    return theta
