"""Runs the longest tests first: a long test that begins last would keep a whole parallel run waiting."""

import pytest


@pytest.hookimpl(trylast=True)  # after the plugin that shuffles the tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workerinput: dict[str, int] = getattr(config, "workerinput", {})
    items[:] = dealt(items, workerinput.get("workercount", 1))


def dealt(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """Return the items with the long ones first in each process's part; the parts have equal sizes."""
    is_long = {item: item.get_closest_marker("long") is not None for item in items}
    long, others = [[item for item in items if is_long[item] is which] for which in (True, False)]
    parts = list[pytest.Item]()
    for number in range(processes):
        head = long[number::processes]
        size = (len(items) + number) // processes  # the last parts get the remainder
        rest = max(0, size - len(head))
        parts += head + others[:rest]
        del others[:rest]
    return parts + others
