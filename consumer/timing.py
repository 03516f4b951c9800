"""Time as a parameter: the limits of everything that waits, and the clock that measures them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Clock:
    """Two clocks.

    Attributes:
        monotonic: seconds since some moment; never goes back.
        wall: seconds since the epoch.
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


CLOCK: Final = Clock()
"""The clock of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a worker and its page wait, in seconds.

    Attributes:
        poll: for the first record of a batch.
        request: for the answer to one request of the Kafka client.
        answer: for a call of the Kafka client. The default is two rebalances: a longer call may never return.
        revoke: of a rebalance for the batches in flight. The default is half of what the group grants, so
            that the worker stays a member.
        commit: for the answer to a commit.
        leave: for the client to leave the group.
        silence: without a record before the broker is asked whether it is there and whether it has records.
        stall: with lag and without a record before the client counts as stalled.
        lag: between two questions for the log's end; an outage of PostgreSQL stops the fetches that tell it.
        lag_answer: for the answer to that question.
        letters: between two questions for the oldest open dead letter, which reads all open dead letters.
        letters_statement: for the answer to that question, on a connection that batches wait for.
        leader: for the answer of a partition's leader; a partition without it is unavailable for now.
        leader_again: before a leader that did not answer is asked again; batches wait for its answer.
        backoff: at most, between a session that failed and the next one.
        batch_line: at least, between two log lines of written batches.
        quick: for a write; a quicker one lets the next transaction be twice as large.
        connection: of HTTP, for its one request and answer.
        pulse: without a turn of the event loop before it counts as stuck; no batch takes as long to decode.
        fork: for the fork server's answer.
        stage: before a connection's temporary table is renewed, and before an unused connection is closed.
            PostgreSQL freezes no temporary table of another session, so an old one holds back the age of the
            database.
        page: for the database, before the page answers that it is slow; less than `connection`.
        page_idle: before an unused connection of the page is closed.
    """

    poll: float = 0.5
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
"""The limits of a worker in service."""
