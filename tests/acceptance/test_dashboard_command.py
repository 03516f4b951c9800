"""`pattern-metrics dashboard`: the page without a worker, from the installed command."""

import re
import socket

import asyncpg
import pytest

from pattern_metrics.consumer.demo.embedded import HOST, PostgresServer, free_port
from pattern_metrics.consumer.postgres.connection import connected
from tests.page.conftest import fill
from tests.support.command import SECONDS_MAX, CommandLine
from tests.support.pipeline import an_event
from tests.support.scraping import Scraper
from tests.support.waiting import eventually


async def execute(url: str, statement: str) -> None:
    async with connected(url) as connection:
        await connection.execute(statement)


async def test_it_serves_the_page_with_the_database_alone_until_it_is_stopped(
    database_command: CommandLine, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [an_event(1)])
    scraper = Scraper(free_port())
    broker = f"{HOST}:{free_port()}"  # nobody listens there

    for number, kafka in (("SIGINT", ""), ("SIGTERM", broker)):
        async with database_command.watched(
            "dashboard", http_port=scraper.port, kafka_bootstrap_servers=kafka
        ) as dashboard:
            await dashboard.wait_for(re.escape(f"the page is at http://127.0.0.1:{scraper.port}/"))
            page = await scraper.ask("/")
            patterns = await scraper.ask("/v1/patterns")
            progress = await scraper.ask("/v1/progress")
            event = await scraper.ask(f"/v1/events/{an_event(2).event_id}")
            elsewhere = await scraper.ask("/metrics")
            if number == "SIGINT":
                code = await dashboard.press_ctrl_c()
            else:
                dashboard.process.terminate()
                code = await dashboard.process.wait()

        assert b"pattern-metrics" in page.body
        assert [row["name"] for row in patterns.json["rows"]] == ["pattern 1"]
        assert progress.json["worker"] is None
        assert len(event.json["searched"]) == (2 if kafka else 1)
        assert elsewhere.status == 404
        assert code == 0


@pytest.mark.parametrize(
    ("login", "role"), [("looker", ""), ("postgres", "?role=pattern_metrics_reader")], ids=["login", "role"]
)
async def test_the_rights_of_a_reader_are_enough(
    database_command: CommandLine, migrated_database_url: str, login: str, role: str
) -> None:
    await fill(migrated_database_url, [an_event(1), b"no JSON"])
    await execute(migrated_database_url, "CREATE ROLE looker LOGIN IN ROLE pattern_metrics_reader")
    url = migrated_database_url.replace("postgres@", f"{login}@") + role
    scraper = Scraper(free_port())
    try:
        async with database_command.watched(
            "dashboard", http_port=scraper.port, database_url=url
        ) as dashboard:
            await dashboard.wait_for("the page is at")
            paths = [f"v1/{path}" for path in ("distribution", "patterns", f"patterns/{1:032x}")]
            paths += [f"v1/{path}" for path in ("changes", "progress", "gaps", "dead-letters")]
            statuses = [(await scraper.ask(f"/{path}")).status for path in paths]
    finally:
        await execute(migrated_database_url, "DROP ROLE looker")

    assert statuses == [200] * 7


async def test_a_role_in_the_url_takes_the_rights_of_the_login_away(migrated_database_url: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(
            f"{migrated_database_url}?role=pattern_metrics_reader", "DELETE FROM pattern_quality_metrics"
        )


async def test_a_port_that_is_taken_is_reported_in_one_line(database_command: CommandLine) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        refused = await database_command.run("dashboard", http_port=port)

    assert refused.code == 2
    assert refused.stderr == f"error: HTTP_PORT: cannot listen on {HOST} port {port} (EADDRINUSE)\n"


async def test_no_port_at_all_is_reported_in_one_line(database_command: CommandLine) -> None:
    refused = await database_command.run("dashboard", http_port=0)

    assert refused.code == 2
    assert refused.stderr.startswith("error: HTTP_PORT: ")


async def test_a_database_without_the_tables_is_waited_for_and_the_page_says_so(
    database_command: CommandLine, database_url: str
) -> None:
    scraper = Scraper(free_port())

    async with database_command.watched(
        "dashboard", http_port=scraper.port, database_url=database_url
    ) as dashboard:
        await dashboard.wait_for("not_ready.*pattern-metrics migrate up(.|\n)*the page is at")
        empty = await scraper.ask("/v1/patterns")
        (await database_command.run("migrate", "up", database_url=database_url)).succeeded()

        async def is_there() -> bool:
            return (await scraper.ask("/v1/patterns")).status == 200

        await eventually(is_there, deadline_seconds=SECONDS_MAX)

    assert (empty.status, empty.json["error"]) == (503, "database")
    assert "a table is missing: run `pattern-metrics migrate up`" in empty.json["hint"]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("-absent", "create it"), ("?foo=bar", "check the parameters")],
    ids=["database", "parameter"],
)
async def test_a_database_that_an_operator_has_to_mend_is_waited_for(
    database_command: CommandLine, migrated_database_url: str, wrong: str, hint: str
) -> None:
    scraper = Scraper(free_port())
    url = f"{migrated_database_url}{wrong}"

    async with database_command.watched("dashboard", http_port=scraper.port, database_url=url) as dashboard:
        await dashboard.wait_for("the page is at")
        answer = await scraper.ask("/v1/patterns")

    assert (answer.status, answer.json["error"]) == (503, "database")
    assert hint in answer.json["hint"]


async def test_a_database_that_is_away_is_waited_for(
    database_command: CommandLine, own_migrated_database_url: str, own_postgres_server: PostgresServer
) -> None:
    scraper = Scraper(free_port())
    own_postgres_server.stop()
    url = own_migrated_database_url

    async with database_command.watched("dashboard", http_port=scraper.port, database_url=url) as dashboard:
        await dashboard.wait_for("the page is at")
        away = await scraper.ask("/v1/patterns")
        alive = await scraper.ask("/livez")
        own_postgres_server.start()

        async def is_back() -> bool:
            return (await scraper.ask("/v1/patterns")).status == 200

        await eventually(is_back, deadline_seconds=SECONDS_MAX)

    assert (away.status, away.json["error"]) == (503, "database")
    assert alive.status == 200
