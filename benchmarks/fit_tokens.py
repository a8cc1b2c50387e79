r"""How long a law over size and tokens takes: 2,000 rows and 1,000 bootstrap samples on one core.

OMP_NUM_THREADS=1 python benchmarks/fit_tokens.py
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from adana.scaling.size_tokens import Points, bootstrap_samples, fit_points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--bootstrap", type=int, default=1000)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    n = 10 ** generator.uniform(7, 10, options.rows)
    d = n * 10 ** generator.uniform(0, 2.5, options.rows)
    loss = (1.8 + 480 * n**-0.35 + 2100 * d**-0.37) * np.exp(0.01 * generator.standard_normal(options.rows))
    points = Points(n, d, loss, np.zeros(options.rows, dtype=int), np.arange(options.rows))
    wall, cpu = time.perf_counter(), time.process_time()
    solved = fit_points(points)
    fitted = time.perf_counter() - wall
    samples = bootstrap_samples(points, solved.u, options.bootstrap, generator, "rows")
    print(
        json.dumps(
            {
                "rows": options.rows,
                "bootstrap": len(samples),
                "fit_seconds": round(fitted, 2),
                "seconds": round(time.perf_counter() - wall, 2),
                "cpu_seconds": round(time.process_time() - cpu, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
