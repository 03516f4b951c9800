"""One file a revision, and its SQL beside it."""
