import pytest

pytest_plugins = [
    "tests.support.garbage",
    "tests.support.hypothesis_profiles",
    "tests.support.memory",
    "tests.support.order",
    "tests.support.shared",
    "tests.support.installation",
    "tests.support.postgres",
    "tests.support.kafka",
    "tests.support.pipeline",
    "tests.support.browser",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        default="auto",
        metavar="auto|embedded|apache|HOST:PORT",
        help="the brokers of the tests that need one; auto is the embedded one and Apache Kafka",
    )
