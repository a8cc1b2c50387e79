"""The paper's tables, typed in as printed ("Logarithmic-time Schedules ...", 2602.05298)."""

from __future__ import annotations

from decimal import Decimal

# Table 1: model, layers, heads, non-embedding parameters, compute in petaflop-hours.
TABLE_1 = [
    ("186M", 10, 14, "96.3M", "8.8e-1"),
    ("254M", 12, 16, "151.0M", "1.7e0"),
    ("664M", 18, 24, "509.6M", "1.3e1"),
    ("1.41B", 24, 32, "1.21B", "6.2e1"),
    ("2.62B", 30, 40, "2.36B", "2.2e2"),
]

# Table 6: total parameters, layers, embedding dimension, MLP hidden dimension.
TABLE_6 = [
    ("70.39M", 6, 512, 2048),
    ("140.97M", 9, 768, 3072),
    ("254.02M", 12, 1024, 4096),
    ("423.69M", 15, 1280, 5120),
    ("664.14M", 18, 1536, 6144),
    ("1.41B", 24, 2048, 8192),
    ("2.62B", 30, 2560, 10240),
]

# Table 7: total parameters, non-embedding parameters, tokens, compute in petaflop-days. Its heads are those
# whose totals are printed: 6, 8, 12, 14, 16, 20, 24, 32, 40.
TABLE_7 = [
    (6, "45.71M", "7.08M", "0.914B", "4.5e-4"),
    (8, "70.39M", "18.87M", "1.41B", "1.8e-3"),
    (12, "140.97M", "63.70M", "2.82B", "1.3e-2"),
    (14, "186.48M", "96.34M", "3.73B", "2.5e-2"),
    (16, "254.02M", "150.99M", "5.08B", "5.3e-2"),
    (20, "423.69M", "294.91M", "8.47B", "1.7e-1"),
    (24, "664.14M", "509.61M", "13.28B", "4.7e-1"),
    (32, "1.41B", "1.21B", "28.28B", "2.4"),
    (40, "2.62B", "2.36B", "52.34B", "8.6"),
]

# What Table 7 prints and its own formula C = 6 N P does not give: 6 * 2.8194e9 * 63.70e6 / 8.64e19 = 1.247e-2.
TABLE_7_SLIPS = {("1.3e-2", "1.2e-2")}

# Table 18: rule, layers of h heads, width of h heads, head dimension, depth / width.
TABLE_18 = [
    ("Enoki", lambda h: 3 * h / 4, lambda h: 64 * h, 64, 3 / 256),
    ("Qwen3", lambda h: 2 * h, lambda h: 128 * h, 128, 1 / 64),
]

# Table 19: sizes. It names no heads; 6, 12, 14 and 17 are named in Section G, the others are the only ones that fit.
TABLE_19 = [
    (6, "176M"),
    (8, "338M"),
    (10, "588M"),
    (12, "947M"),
    (14, "1.44B"),
    (16, "2.09B"),
    (17, "2.47B"),
]

# Section F.2 (36) and Section H: heads, tokens per step, optimizer steps.
STEPS = [(6, 32 * 2048, 13950), (6, 256 * 2048, 1743), (24, 256 * 2048, 25335)]

UNITS = {"M": Decimal(10**6), "B": Decimal(10**9)}


def as_printed(value: float, printed: str) -> str:
    """A number as the table would print it: with the unit and the digits of ``printed``."""
    if printed[-1] in UNITS:
        digits = len(printed[:-1].partition(".")[2])
        return f"{Decimal(value) / UNITS[printed[-1]]:.{digits}f}{printed[-1]}"
    mantissa, _, exponent = printed.partition("e")
    digits = len(mantissa.partition(".")[2])
    return f"{Decimal(value).scaleb(-int(exponent or 0)):.{digits}f}" + (f"e{exponent}" if exponent else "")
