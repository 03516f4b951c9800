"""An error of ours that is one of PostgreSQL's driver, by its class. This module imports the driver."""

import asyncpg


class UnusableOptionsError(asyncpg.InterfaceError):
    """The driver failed before it connected; the message repeats nothing of what it read."""
