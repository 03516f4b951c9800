"""Errors: their class, the wait between attempts, and the conditions under which the worker is not ready."""
