"""Settings that agents and consumers share."""
