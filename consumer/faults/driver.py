"""Errors of ours that are PostgreSQL's driver's, by their class. This module imports the driver."""

import asyncpg


class RefusedLoginError(asyncpg.ProtocolViolationError):
    """A pooler refused a login: PgBouncer has one SQLSTATE for a password, a database and a parameter."""


class UnusableOptionsError(asyncpg.InterfaceError):
    """The driver failed before it connected; the message repeats nothing of what it read."""
