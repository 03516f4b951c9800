"""One Python file per revision, and its SQL files beside it."""
