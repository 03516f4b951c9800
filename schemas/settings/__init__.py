"""Settings that both sides share."""
