"""Several processes as one worker."""
