"""The HTTP server with any client. No worker is behind it, because that makes no difference here."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from pattern_metrics.consumer.demo.embedded import HOST, free_port
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.http.listening import listen, take_port
from pattern_metrics.consumer.http.probes import serving
from pattern_metrics.consumer.http.server import CONNECTIONS_MAX, HEADER_BYTES_MAX, HEADERS
from pattern_metrics.consumer.settings import HttpSettings, InvalidSettingError, WorkerSettings
from pattern_metrics.consumer.telemetry.metrics import Metrics
from pattern_metrics.schemas.settings.timing import Timing
from tests.support.scraping import Scraper

PATHS = {"/livez": 200, "/readyz": 503, "/metrics": 200}
STUCK = Timing(pulse=0.0)
"""No turn of the event loop is recent enough."""

ELSEWHERE = ("/", "/livez/", "/metrics/x", "//livez", "/%2e%2e/livez", "/docs", "/livez%00")


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def scraper(health: Health) -> AsyncIterator[Scraper]:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        async with serving(listener, health, Metrics()):
            yield Scraper(port)


async def test_every_answer_carries_the_security_headers(scraper: Scraper) -> None:
    answers = [await scraper.ask(path) for path in (*PATHS, *ELSEWHERE)]
    answers += [await scraper.ask(path, "POST") for path in PATHS]

    assert [answer.status for answer in answers] == [*PATHS.values(), *[404] * len(ELSEWHERE), 405, 405, 405]
    for answer in answers:
        assert {(name.lower(), value) for name, value in HEADERS} <= answer.headers.items()
        assert "server" not in answer.headers
    policy = dict(HEADERS)["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(
        policy
    )
    assert not [rule for rule in policy if "unsafe" in rule or ":" in rule or "*" in rule]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
@pytest.mark.parametrize("path", PATHS)
async def test_nothing_can_be_done_but_to_read(scraper: Scraper, path: str, method: str) -> None:
    answer = await scraper.ask(path, method)

    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", PATHS)
async def test_the_head_of_an_answer_can_be_had_alone(scraper: Scraper, path: str) -> None:
    answer = await scraper.ask(path, "HEAD")

    assert answer.status == PATHS[path]
    assert answer.body == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no HTTP\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",  # names no host
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2 * HEADER_BYTES_MAX,
    ],
    ids=["tls", "no-host", "endless-header"],
)
async def test_bytes_that_are_no_request_get_no_answer(scraper: Scraper, request_bytes: bytes) -> None:
    assert await scraper.send(request_bytes) == b""
    assert (await scraper.ask("/livez")).status == 200


async def test_a_connection_answers_once(scraper: Scraper) -> None:
    answers = await scraper.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)

    assert answers.count(b"HTTP/1.1 ") == 1


async def test_a_connection_that_asks_for_nothing_is_ended(health: Health) -> None:
    with socket.create_server((HOST, 0)) as listener:
        scraper = Scraper(listener.getsockname()[1])
        async with serving(listener, health, Metrics(), timing=Timing(connection=0.2)):
            assert await scraper.send(b"GET /livez HTTP/1.1\r\nHost:") == b""


async def test_beyond_its_limit_the_oldest_connection_makes_room_for_the_newest(scraper: Scraper) -> None:
    async with AsyncExitStack() as idle:
        connections = [await idle.enter_async_context(scraper.connected()) for _ in range(CONNECTIONS_MAX)]
        assert (await scraper.ask("/livez")).status == 200  # one more

        oldest, second = connections[0][0], connections[1]
        assert await oldest.read() == b""
        second[1].write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await second[0].read()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "name", ["localhost", "LocalHost:8080", "127.0.0.1", "127.8.8.8:1", "[::1]", "[::1]:8080"]
)
async def test_on_loopback_a_request_with_a_loopback_name_is_answered(scraper: Scraper, name: str) -> None:
    assert (await scraper.ask("/livez", host=name)).status == 200


@pytest.mark.parametrize(
    "name",
    [
        "web-site.example",
        "web-site.example:8080",
        "127.0.0.1.example",
        "localhost.example",
        "0.0.0.0",
        "[::1",
        "",
    ],
)
async def test_on_loopback_a_request_with_another_name_gets_nothing(scraper: Scraper, name: str) -> None:
    """A web site can point its own name at this address, and then reads the responses that a browser gets."""
    answer = await scraper.ask("/metrics", host=name)

    assert (answer.status, answer.body) == (421, b"")


async def test_elsewhere_any_client_is_answered(health: Health) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        async with serving(listener, health, Metrics()):
            scraper = Scraper(listener.getsockname()[1])
            assert (await scraper.ask("/livez", host="worker.example:8080")).status == 200


async def test_a_loop_that_is_stuck_is_not_alive(scraper: Scraper, health: Health) -> None:
    assert (await scraper.ask("/livez")).json == {"alive": True}

    with socket.create_server((HOST, 0)) as listener:
        async with serving(listener, health, Metrics(), timing=STUCK):
            answer = await Scraper(listener.getsockname()[1]).ask("/livez")
    assert answer.status == 503
    assert answer.json == {"alive": False}


async def test_each_obstacle_is_named_until_there_is_none(scraper: Scraper, health: Health) -> None:
    health.fail("postgresql", "Broken", "mend it")
    obstacles = await scraper.wait_for_obstacles("assignment", "postgresql")
    blocked = await scraper.samples()
    health.is_assigned = True
    health.recover("postgresql")
    ready = await scraper.ask("/readyz")
    freed = await scraper.samples()

    assert obstacles["postgresql"] == "mend it"
    assert blocked["pattern_metrics_ready", ()] == 0
    assert blocked["pattern_metrics_not_ready", ("postgresql",)] == 1
    assert blocked["pattern_metrics_not_ready", ("kafka",)] == 0
    assert ready.status == 200
    assert ready.json == {"ready": True, "obstacles": {}}
    assert freed["pattern_metrics_ready", ()] == 1
    assert freed["pattern_metrics_not_ready", ("postgresql",)] == 0


# The health check


async def check_health(directory: Path, **settings: object) -> int:
    """Return the exit code of the image's health check, in an environment with a proxy that is down."""
    environment = {name.upper(): str(value) for name, value in settings.items()}
    environment |= dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), f"http://{HOST}:{free_port()}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pattern_metrics.consumer.alive", env=environment, cwd=directory
    )
    return await process.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::", "::1"])
async def test_the_health_check_asks_where_the_settings_say(
    health: Health, tmp_path: Path, host: str
) -> None:
    settings = {"http_host": host, "http_port": free_port()}
    with take_port(HttpSettings.model_validate(settings)) as listener:
        async with serving(listener, health, Metrics()):
            alive = await check_health(tmp_path, **settings)
    with take_port(HttpSettings.model_validate(settings)) as listener:
        async with serving(listener, health, Metrics(), timing=STUCK):
            stuck = await check_health(tmp_path, **settings)
    gone = await check_health(tmp_path, **settings)

    assert (alive, stuck, gone) == (0, 1, 1)


async def test_without_http_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert await check_health(tmp_path, http_port=0) == 0


# The port


def a_worker(**changes: object) -> WorkerSettings:
    return WorkerSettings.model_validate({"database_url": SecretStr("postgresql://"), **changes})


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
@pytest.mark.parametrize("family", ["127.0.0.1", "::1"])
async def test_everywhere_is_answered_by_ipv4_and_by_ipv6(health: Health, host: str, family: str) -> None:
    with take_port(HttpSettings.model_validate({"http_host": host, "http_port": free_port()})) as listener:
        async with serving(listener, health, Metrics()):
            reader, writer = await asyncio.open_connection(family, listener.getsockname()[1])
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = await reader.read()
            writer.close()

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_port_zero_turns_http_off() -> None:
    assert listen(a_worker(http_port=0)) is None


@pytest.mark.parametrize(
    ("host", "named"), [(HOST, "HTTP_PORT"), ("192.0.2.1", "HTTP_HOST"), ("a..b", "HTTP_HOST")]
)
def test_a_port_that_was_asked_for_and_cannot_be_had_is_reported_by_its_setting(
    host: str, named: str
) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSettingError, match=f"^{named}: cannot listen on {host} port {port}"):
            listen(a_worker(http_host=host, http_port=port))


def test_a_default_port_that_is_taken_is_no_reason_not_to_work() -> None:
    """Two workers on one machine, or another program's server: nobody asked for this port."""
    with socket.create_server((HOST, 0)) as taken:
        unset = WorkerSettings.model_construct(
            {"database_url"}, http_host=HOST, http_port=taken.getsockname()[1]
        )
        assert listen(unset) is None


def test_the_port_is_taken_on_ipv6_as_well() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    listener = listen(a_worker(http_host="::1", http_port=free_port()))
    assert listener is not None
    with listener:
        assert listener.family is socket.AF_INET6
