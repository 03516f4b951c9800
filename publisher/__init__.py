"""The agents' side: score code, and publish one event per measurement."""
