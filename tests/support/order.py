"""The longest tests begin first: one that begins last keeps a whole run waiting, on one process of many."""

import pytest


@pytest.hookimpl(trylast=True)  # after what draws the order of the others
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workerinput: dict[str, int] = getattr(config, "workerinput", {})
    items[:] = dealt(items, workerinput.get("workercount", 1))


def dealt(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """The items with those marked as long at the heads of the parts, of one size, that the processes get."""
    is_long = {item: item.get_closest_marker("long") is not None for item in items}
    long, others = [[item for item in items if is_long[item] is which] for which in (True, False)]
    parts = list[pytest.Item]()
    for number in range(processes):
        head = long[number::processes]
        size = (len(items) + number) // processes  # of what does not divide evenly the last ones get one more
        rest = max(0, size - len(head))
        parts += head + others[:rest]
        del others[:rest]
    return parts + others
