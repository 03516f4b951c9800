"""Asking a fork server that does not answer correctly. The worker's processes test correct answers."""

import socket

import pytest

from pattern_metrics.consumer.worker.processes.fork_server import ForkServer
from pattern_metrics.schemas.settings.timing import Timing


async def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    ours, its = socket.socketpair()

    with ours, its, pytest.raises(TimeoutError):
        await ForkServer(ours, Timing(fork=0.01)).fork(0)


async def test_a_server_that_is_gone_is_reported_as_that() -> None:
    ours, its = socket.socketpair()
    its.close()

    with ours, pytest.raises(BrokenPipeError):
        await ForkServer(ours).fork(0)
