"""The paper's tables entered a second time, in its own order, so that a slip in the package's files is seen."""

# Table 19: size, then AdamW, ADana .85, AdEMAMix (printed without its kappa, .85 by default),
# DanaStarMK4 .75 and .85, DanaMK4 .75 and .85.
TABLE_19_COLUMNS = (
    "adamw",
    "adana (kappa 0.85)",
    "ademamix (kappa 0.85)",
    "dana-star-mk4 (kappa 0.75)",
    "dana-star-mk4 (kappa 0.85)",
    "dana-mk4 (kappa 0.75)",
    "dana-mk4 (kappa 0.85)",
)
TABLE_19 = """
176M 3.228 3.182 3.214 3.199 3.202 3.185 3.183
338M 3.017 2.965 2.999 2.980 2.977 2.971 2.965
588M 2.871 2.816 2.868 2.839 2.820 2.834 2.815
947M 2.740 2.696 2.730 2.709 2.699 2.707 2.692
1.44B 2.644 2.608 2.641 2.620 2.609 2.618 2.601
2.09B 2.572 2.531 2.566 2.543 2.530 2.542 2.527
2.47B 2.536 2.496 3.226 2.512 2.496 2.501 2.493
"""

# Tables 11 and 12: e, f, R2 of the single law, then b, c, e, f, R2 of the broken one; a is in the tables' heads.
TABLES_11_12_ROWS = ("adamw", "dana-star-mk4 (kappa 0.85)", "adana (kappa 0.85)", "muon", "ademamix-dw")
SATURATIONS = {"6n": (1.042, 0.106), "6p": (0.987, 0.105)}
TABLES_11_12 = {
    "6n": """
2.164 0.074 0.9971 0.405 0.211 2.68 0.030 0.99996
2.132 0.077 0.9970 0.404 0.217 2.64 0.030 0.99991
2.124 0.075 0.9963 0.404 0.217 2.64 0.030 0.99995
2.139 0.073 0.9960 0.404 0.217 2.65 0.029 0.99990
2.129 0.074 0.9962 0.404 0.218 2.64 0.029 0.99995
""",
    "6p": """
2.146 0.065 0.9998 0.402 0.125 2.63 0.034 0.99977
2.114 0.066 0.9998 0.402 0.130 2.59 0.033 0.99975
2.107 0.066 0.9998 0.401 0.129 2.59 0.033 0.99976
2.124 0.064 0.9997 0.402 0.133 2.60 0.032 0.99970
2.113 0.064 0.9998 0.402 0.132 2.59 0.032 0.99973
""",
}

# Table 20, a = 0.108: b, c, e, f, R2.
TABLE_20 = """
adamw 0.403 0.164 2.66 0.032 0.9995
adana 0.402 0.190 2.61 0.030 0.9999
dana-star-mk4 0.403 0.188 2.62 0.030 0.9997
dana-star-mk4 0.403 0.199 2.62 0.031 0.9998
dana-mk4 0.401 0.151 2.61 0.032 0.9994
dana-mk4 0.403 0.197 2.61 0.030 0.9999
"""

# Table 10: bound on a, a, e, f; Table 13: formula, a, e, f, and e, f with a = 0.
TABLE_10 = """
0.11 0.013 3.20 0.048
0.15 0.019 3.20 0.048
0.50 0.118 3.10 0.050
1.00 0.372 2.84 0.055
2.00 0.885 2.32 0.068
free 1.046 2.16 0.074
"""
TABLE_13 = """
6p 0.977 2.16 0.065 3.15 0.043
6n 1.046 2.16 0.074 3.22 0.048
m 1.010 2.17 0.069 3.19 0.045
"""

# Table 15: formula, exponent (or its ends), irreducible loss, largest compute in petaflop-hours.
TABLE_15 = """
6p 0.050 no 550
6p 0.048 no 87000
? 0.067 no 1000000
? 0.120 yes 1000000
6n 0.05 no 833
6n 0.154 yes 833
m 0.048 no 125000
6p 0.048 no 33000
? 0.051-0.056 no 278
6n 0.052 yes 5600
6p 0.050 no 28
6n 0.049-0.051 no 47
6p 0.043 no 370
6p 0.065 yes 370
6n 0.048 no 370
6n 0.074 yes 370
m 0.045 no 370
m 0.069 yes 370
"""


def cells(table: str) -> list[list[str]]:
    return [line.split() for line in table.split("\n") if line]
