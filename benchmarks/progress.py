"""Progress messages for a person. Standard output stays free for results."""

import sys
from datetime import datetime


def show(text: str) -> None:
    """Print a line to standard error."""
    sys.stderr.write(f"{datetime.now().astimezone():%H:%M:%S} {text}\n")
