"""`python -m consumer`: the same as `pattern-metrics`."""

from consumer.cli import main

main()
