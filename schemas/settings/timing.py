"""Time as a parameter: the limits of everything that waits, and the clock that measures them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Clock:
    """Two clocks.

    Attributes:
        monotonic: seconds since an arbitrary moment; never goes back.
        wall: seconds since the epoch.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


CLOCK: Final = Clock()
"""The clock of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The limits of everything that waits in a worker and its page, in seconds.

    Attributes:
        poll: wait for the first record of a batch.
        trickle: longest wait of a batch for more records, while records trickle in.
        request: wait for the answer to one request of the Kafka client.
        answer: wait for a call of the Kafka client to return. The default is the time of two rebalances; a
            call that takes longer may never return.
        revoke: wait of a rebalance for the batches in flight. The default is half of the time that the group
            allows, so that the worker stays a member.
        commit: wait for the answer to a commit.
        leave: wait for the client to leave the group.
        silence: time without a record before the broker is asked whether it is up and has records.
        stall: time with lag and without a record before the client counts as stalled.
        lag: interval of asking for the log's end. Fetches report it too, but stop while PostgreSQL is away.
        lag_answer: wait for the answer to that question.
        letters: interval of asking for the oldest open dead letter, which reads all open dead letters.
        letters_statement: wait for the answer to that question, on a connection that batches need.
        leader: wait for the answer of a partition's leader; without it the partition is unavailable.
        leader_again: least time before a leader that did not answer is asked again; batches wait meanwhile.
        backoff: longest wait between a failed session and the next one.
        batch_line: least time between two log lines of written batches.
        quick: a write that takes less lets the next transaction be twice as large.
        connection: time of an HTTP connection for its one request and answer.
        pulse: time without a turn of the event loop before it counts as stuck; decoding a batch takes less.
        fork: wait for the fork server's answer.
        stage: age at which a connection's temporary table is recreated and an unused connection is closed.
            PostgreSQL freezes no temporary table of another session, so an old one keeps the database's
            oldest transaction id from advancing.
        page: wait for the database before the page answers that it is slow; less than `connection`.
        page_idle: idle time after which a connection of the page is closed.
    """

    poll: float = 0.5
    trickle: float = 0.010
    request: float = 40.0
    answer: float = 120.0
    revoke: float = 30.0
    commit: float = 10.0
    leave: float = 5.0
    silence: float = 10.0
    stall: float = 60.0
    lag: float = 15.0
    lag_answer: float = 10.0
    letters: float = 60.0
    letters_statement: float = 2.0
    leader: float = 10.0
    leader_again: float = 60.0
    backoff: float = 30.0
    batch_line: float = 1.0
    quick: float = 11.25
    connection: float = 10.0
    pulse: float = 60.0
    fork: float = 3.0
    stage: float = 600.0
    page: float = 8.0
    page_idle: float = 60.0


TIMING: Final = Timing()
"""The limits in production."""
