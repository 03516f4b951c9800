"""Profiles for hypothesis: chance at a desk, the same examples every time in CI.

A deadline per example, or for making them, would measure the machine, not the code: there is none.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")
