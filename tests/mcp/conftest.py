import pytest

from tests.support.mcp import MODES


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Each way in which the SDK's client connects."""
    way: str = request.param
    return way
