"""Dead letters: list, show, export, redrive, discard and prune them."""
