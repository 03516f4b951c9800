"""What a person sees while it runs; standard output stays free."""

import sys
from datetime import datetime


def tell(text: str) -> None:
    """Print a line to standard error."""
    sys.stderr.write(f"{datetime.now().astimezone():%H:%M:%S} {text}\n")
