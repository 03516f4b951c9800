"""Standard input that a signal can end, just as the client does when it closes it.

The SDK reads standard input in a thread, and nothing interrupts this while the client is silent.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pattern_metrics.consumer.stopping import hearing_signals

_INPUT: Final = 0
_PIECE_BYTES: Final = 64 * 1024


@contextmanager
def input_until_a_signal() -> Iterator[None]:
    """Let SIGTERM, SIGINT and SIGHUP end standard input during the block, in the running loop."""
    client, (writing, reading) = os.dup(_INPUT), socket.socketpair()
    os.dup2(reading.fileno(), _INPUT)
    reading.close()

    def end() -> None:
        with suppress(OSError):  # it has ended already
            writing.shutdown(socket.SHUT_WR)

    def copy() -> None:
        with suppress(OSError):  # a signal has ended it
            while piece := os.read(client, _PIECE_BYTES):
                writing.sendall(piece)
        end()

    threading.Thread(target=copy, name="stdin", daemon=True).start()
    with hearing_signals(end, end):
        yield
