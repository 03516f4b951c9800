"""Errors: whose fault one is, how long to wait, and what keeps the worker from being ready."""
