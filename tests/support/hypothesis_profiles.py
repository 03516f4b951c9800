"""Profiles for hypothesis: random examples at a desk, the same examples every time in CI.

There is no deadline per example, because it would measure the machine and not the code.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")
