"""Our own errors that derive from the driver's classes. This module imports the driver."""

import asyncpg


class RefusedLoginError(asyncpg.ProtocolViolationError):
    """A pooler refused a login. PgBouncer uses one SQLSTATE for a wrong password, database or parameter."""


class UnusableOptionsError(asyncpg.InterfaceError):
    """The driver failed before it connected. The message repeats none of its input."""
