"""Benchmarks that anybody can run: ours and its peers, side by side, on one machine."""
