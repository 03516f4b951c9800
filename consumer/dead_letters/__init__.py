"""Dead letters: to list, show, export, redrive, discard and prune them."""
