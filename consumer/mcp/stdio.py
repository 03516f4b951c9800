"""Standard input that a signal can end, just as the client does when it closes it, with readable messages.

The SDK reads standard input in a thread, and nothing interrupts this while the client is silent. It drops a
message that it cannot read, so that the client would wait for an answer in vain.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from pattern_metrics.consumer.mcp.messages import as_request, readable
from pattern_metrics.consumer.stopping import hearing_signals

logger = structlog.get_logger()

_INPUT: Final = 0


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
        with suppress(OSError), os.fdopen(client, "rb") as lines:  # OSError: a signal has ended it
            for line in lines:
                message = readable(line) or as_request(line)
                if message is None:
                    logger.warning("message_unreadable", bytes=len(line))
                else:
                    writing.sendall(message.rstrip(b"\n") + b"\n")
        end()

    threading.Thread(target=copy, name="stdin", daemon=True).start()
    with hearing_signals(end, end):
        yield
