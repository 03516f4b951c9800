"""Benchmarks of this worker and its peers, side by side on one machine. Anybody can run them."""
