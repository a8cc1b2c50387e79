"""JAX's settings for these tests, which it reads when it first computes.

Eight devices on the CPU, so that sharding is tested everywhere; and little optimisation by the compiler, which
is what these tests would spend their time on. Without its fusion emitters it takes half as long; only versions
that are known to have that switch are asked for it: the others refuse to start.
"""

from __future__ import annotations

import importlib.metadata
import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
