"""Our own errors that derive from the driver's classes. This module imports the driver."""

import asyncpg


class RefusedLoginError(asyncpg.ProtocolViolationError):
    """A pooler refused a login. PgBouncer uses one SQLSTATE for a wrong password, database or parameter."""


class RefusedSessionError(asyncpg.PostgresError):
    """PostgreSQL refused a session by an SQLSTATE that means something else later.

    It uses 22023 for a role and for a row, and 55P02 is of the class of busy tables.
    """


class UnusableOptionsError(asyncpg.InterfaceError):
    """The driver failed before it connected. The message repeats none of its input."""
