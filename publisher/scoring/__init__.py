"""Scores Python code."""
