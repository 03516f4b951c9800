"""Profiles for hypothesis: chance at a desk, the same examples every time in CI.

A deadline per example would measure the machine, not the code: there is none.
"""

import os

from hypothesis import settings

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")
