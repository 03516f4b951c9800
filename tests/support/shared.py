"""Things that all processes of a run share. Each is made once, when the first process needs it.

The process that distributes the tests makes it, keeps it while they run, and undoes it. In a run without such
a process, the process of the tests does.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from multiprocessing.connection import Client, Listener
from typing import Any, cast

import pytest

from tests.support.memory import files_in_memory

Maker = Callable[[], AbstractContextManager[str]]
"""A function of a module that makes a thing for a block, and yields the way to reach it."""


class _Keeper:
    """Makes and keeps the things that test processes ask for."""

    def __init__(self) -> None:
        self._listener = Listener(family="AF_UNIX")
        self.address = cast("str", self._listener.address)
        self._things = ExitStack()
        self._made: dict[Maker, str | Exception] = {}
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            with self._listener.accept() as connection:
                make: Maker = connection.recv()
                if make not in self._made:
                    self._made[make] = self._make(make)
                connection.send(self._made[make])

    def _make(self, make: Maker) -> str | Exception:
        try:
            with files_in_memory():
                return self._things.enter_context(make())
        except Exception as error:  # noqa: BLE001 - raised again where the thing is asked for
            return error

    def close(self) -> None:
        self._things.close()
        self._listener.close()


_KEEPER = pytest.StashKey[_Keeper]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a new process the address of the keeper."""
    keeper = node.config.stash.setdefault(_KEEPER, None) or _Keeper()
    node.config.stash[_KEEPER] = keeper
    node.workerinput["keeper"] = keeper.address


def pytest_unconfigure(config: pytest.Config) -> None:
    keeper = config.stash.get(_KEEPER, None)
    if keeper is not None:
        keeper.close()


def shared(config: pytest.Config, make: Maker) -> AbstractContextManager[str]:
    """Return the thing for a block, made by this process or by the keeper for all."""
    workerinput: dict[str, str] = getattr(config, "workerinput", {})
    if not workerinput:
        return make()
    with Client(workerinput["keeper"]) as keeper:
        keeper.send(make)
        answer: str | Exception = keeper.recv()
    if isinstance(answer, Exception):
        raise answer
    return nullcontext(answer)
