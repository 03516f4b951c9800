"""The read API: what programs ask, with its tags, tokens and limits."""

import hashlib
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from pydantic import SecretStr
from starlette.routing import Route
from structlog.testing import capture_logs

from pattern_metrics.consumer.api.ingestion import Watched
from pattern_metrics.consumer.api.openapi import LOOKUP_MAX
from pattern_metrics.consumer.dashboard.page import Page
from pattern_metrics.consumer.demo.embedded import HOST
from pattern_metrics.consumer.faults.health import Health
from pattern_metrics.consumer.http import access as access_module
from pattern_metrics.consumer.http.access import THIS_MACHINE, Access
from pattern_metrics.consumer.http.listening import take_port
from pattern_metrics.consumer.http.server import serving_routes
from pattern_metrics.consumer.http.tokens import Tokens
from pattern_metrics.consumer.postgres.connection import connected
from pattern_metrics.consumer.settings import DatabaseSettings, HttpSettings, WorkerSettings
from pattern_metrics.consumer.telemetry.metrics import Metrics
from pattern_metrics.schemas.pattern_id import pattern_id_of
from pattern_metrics.schemas.pattern_retired import PatternRetired
from tests.page.conftest import fill, fill_progress
from tests.support.pipeline import an_event
from tests.support.scraping import Answer, Scraper, parsed


class Program(Scraper):
    """A program that reads."""

    async def request(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
        return parsed(await self.send("\r\n".join([*lines, "", ""]).encode() + body))

    async def look_up(self, **asked: object) -> Answer:
        body = json.dumps(asked).encode()
        return await self.request(
            "/v1/patterns:lookup", "Content-Type: application/json", method="POST", body=body
        )


@asynccontextmanager
async def reading(
    database_url: str,
    access: Access = THIS_MACHINE,
    watched: Watched | None = None,
    topics: WorkerSettings | None = None,
) -> AsyncIterator[Program]:
    settings = DatabaseSettings(database_url=SecretStr(database_url))
    page = Page(settings, watched, access=access, topics=topics)
    with socket.create_server((HOST, 0)) as listener:
        async with serving_routes(listener, [], page):
            yield Program(listener.getsockname()[1])


@pytest.fixture
async def program(migrated_database_url: str) -> AsyncIterator[Program]:
    async with reading(migrated_database_url) as one:
        yield one


def dimensions(**scores: float) -> dict[str, Any]:
    return {"metadata": {"name": "shop:total", "dimensions": scores}}


async def test_patterns_are_looked_up_by_id_and_name_in_the_order_of_the_request(
    program: Program, migrated_database_url: str
) -> None:
    named = pattern_id_of("shop.cart:total")
    await fill(migrated_database_url, [an_event(1), an_event(2), an_event(3, pattern_id=named)])

    answer = await program.look_up(
        ids=[str(UUID(int=2)), str(UUID(int=9)), str(UUID(int=1)), str(UUID(int=2))],
        names=["shop.cart:total", "absent"],
    )

    assert answer.status == 200
    two, one = str(UUID(int=2)), str(UUID(int=1))
    assert [row["asked"] for row in answer.json["rows"]] == [two, one, two, "shop.cart:total"]
    assert [row["pattern_id"] for row in answer.json["rows"]] == [two, one, two, str(named)]
    assert answer.json["missing"] == [str(UUID(int=9)), "absent"]


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (400, {"ids": ["no id"]}),
        (400, {"id": []}),
        (400, {"names": [""]}),
        (413, {"ids": [str(UUID(int=1))] * LOOKUP_MAX, "names": ["a"]}),
        (413, {"names": ["x" * 1024 * 1024]}),
        (200, {}),
    ],
    ids=["no id", "other member", "empty name", "too many", "too large", "nothing"],
)
async def test_a_lookup_has_its_limits(program: Program, status: int, asked: dict[str, object]) -> None:
    assert (await program.look_up(**asked)).status == status


async def test_an_answer_that_the_client_has_is_not_sent_again(
    program: Program, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [an_event(1)])
    path = f"/v1/patterns/{UUID(int=1)}"
    first = await program.request(path)
    again = await program.request(path, f'If-None-Match: "other", W/{first.headers["etag"]}')
    lines = await program.request(path, 'If-None-Match: "other"', f"If-None-Match: {first.headers['etag']}")
    await fill(migrated_database_url, [an_event(1, seconds=9, score=0.9)])
    changed = await program.request(path, f"If-None-Match: {first.headers['etag']}")
    page = await program.request("/v1/patterns")

    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert lines.status == 304
    assert (changed.status, changed.json["quality_score"]) == (200, 0.9)
    assert first.headers["cache-control"] == page.headers["cache-control"] == "private, no-cache"
    assert int(page.headers["age"]) < 60
    assert (await program.request("/")).headers["cache-control"] == "no-store"


async def test_best_and_worst_may_be_by_a_dimension_and_pages_follow_each_other(
    program: Program, migrated_database_url: str
) -> None:
    events = [an_event(number, **dimensions(complexity=number / 10)) for number in range(1, 8)]
    await fill(migrated_database_url, [*events, an_event(9, **dimensions(other=1)), an_event(10)])
    seen, after = list[str](), ""
    while True:
        page = await program.request(f"/v1/patterns?dimension=complexity&order=worst&limit=3{after}")
        seen += [row["pattern_id"] for row in page.json["rows"]]
        if page.json["next"] is None:
            break
        after = "&after=" + "".join(f"%{byte:02x}" for byte in page.json["next"].encode())

    assert seen == [str(event.pattern_id) for event in events]


def retirement(number: int, reason: str) -> bytes:
    gone = an_event(number, seconds=9)
    event = PatternRetired(
        event_id=gone.event_id,
        pattern_id=gone.pattern_id,
        retired_at=gone.measurement_timestamp,
        reason=reason,
    )
    return event.to_json()


async def test_a_retired_pattern_is_gone_and_listed_with_its_last_row(
    program: Program, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [an_event(number, score=0.8) for number in range(1, 4)])
    await fill(
        migrated_database_url,
        [retirement(1, "moved"), retirement(2, "deleted"), retirement(7, "never scored")],
    )

    gone = await program.request(f"/v1/patterns/{UUID(int=1)}")
    page = await program.request("/v1/retired?limit=2")
    rest = await program.request(f"/v1/retired?after={page.json['next']}")
    living = await program.request("/v1/patterns")
    document = (await program.request("/openapi.json")).json

    assert (gone.status, gone.json["error"], gone.json["retired"]["reason"]) == (410, "retired", "moved")
    assert [(row["reason"], row["band"]) for row in page.json["rows"]] == [
        ("moved", "good"),
        ("deleted", "good"),
    ]
    assert [(row["reason"], row["quality_score"]) for row in rest.json["rows"]] == [("never scored", None)]
    assert rest.json["next"] is None
    assert [row["pattern_id"] for row in living.json["rows"]] == [str(UUID(int=3))]
    schema = {"$ref": "#/components/schemas/RetiredPage", "components": document["components"]}
    jsonschema.validate(page.json, schema)
    jsonschema.validate(rest.json, schema)


async def test_the_history_is_read_page_by_page_and_the_newest_first(
    program: Program, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [an_event(1, seconds=number) for number in range(5)])
    seen, after = list[str](), ""
    while True:
        page = (await program.request(f"/v1/patterns/{UUID(int=1)}/history?limit=2{after}")).json
        seen += [row["measurement_timestamp"] for row in page["rows"]]
        if page["next"] is None:
            break
        after = "&after=" + "".join(f"%{byte:02x}" for byte in page["next"].encode())

    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == 5
    assert page["history_enabled"] is None


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/patterns?limit=" + text for text in ("0", "501", "x", "1_0", "%D9%A3", "+3", "", "9" * 5000)),
        "/v1/patterns?order=up",
        "/v1/patterns?band=a",
        *("/v1/patterns?after=" + text for text in ("1", "%5B%5D", "[" * 3000, "%00")),
        "/v1/patterns?order=id&after=1",
        f"/v1/patterns/{UUID(int=1)}/history?after=1",
        "/v1/events/event_id",
        "/v1/patterns/pattern_id",
        *(
            f"/v1/dead-letter?topic=a&partition=0&offset={offset}&timestamp=1"
            for offset in ("", "x", "1.5", "9" * 19)
        ),
    ],
)
async def test_a_parameter_that_is_not_valid_is_a_problem_that_names_it(program: Program, path: str) -> None:
    wrong = next(
        name
        for name in ("limit", "order=up", "band", "after", "event_id", "pattern_id", "offset")
        if name in path
    )

    answer = await program.request(path)

    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json["detail"] == f"the parameter {wrong.partition('=')[0]} is not valid"


@pytest.mark.parametrize(
    ("status", "method", "path"),
    [(404, "GET", "/v2/patterns"), (405, "PUT", "/v1/patterns"), (404, "POST", "/v1")],
)
async def test_a_path_or_method_that_is_not_there_is_a_problem(
    program: Program, status: int, method: str, path: str
) -> None:
    answer = await program.request(path, method=method)

    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_a_fault_of_the_program_is_a_problem_and_logged(
    program: Program, migrated_database_url: str
) -> None:
    await fill(migrated_database_url, [b"no JSON"])
    [letter] = (await program.request("/v1/dead-letters")).json["rows"]
    async with connected(migrated_database_url) as connection:
        await connection.execute("""UPDATE dead_letters SET headers = '[{"not": "a header"}]'""")

    with capture_logs() as logs:
        answer = await program.request(
            f"/v1/dead-letter?topic={letter['topic']}&partition={letter['partition']}"
            f"&offset={letter['offset']}&timestamp={letter['record_timestamp']}"
        )

    assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "KeyError" not in answer.body.decode()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["answer_failed"]


async def test_another_machine_reads_only_if_all_may(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "_is_from_this_machine", lambda _: False)
    paths = ["/v1/patterns", "/v1/gaps", "/v1/dead-letters", f"/v1/events/{UUID(int=1)}"]
    async with reading(migrated_database_url) as program:
        refused = [await program.request(path) for path in paths]
        lookup = await program.look_up(ids=[])
        document = (await program.request("/openapi.json")).json
    async with reading(migrated_database_url, Access(is_open=True)) as program:
        allowed = [(await program.request(path)).status for path in paths]

    assert [answer.status for answer in (*refused, lookup)] == [403] * 5
    assert "API_TOKENS_FILE" in refused[0].json["detail"]
    assert "403" in document["paths"]["/v1/gaps"]["get"]["responses"]
    assert allowed == [200] * 4


async def test_this_machine_reads_by_a_socket_for_both_families(migrated_database_url: str) -> None:
    page = Page(DatabaseSettings(database_url=SecretStr(migrated_database_url)))
    with take_port(HttpSettings(http_host="0.0.0.0", http_port=0)) as listener:
        async with serving_routes(listener, [], page):
            program = Program(listener.getsockname()[1])
            by_loopback = await program.request("/v1/gaps")
            by_name = await program.send(b"GET /v1/gaps HTTP/1.1\r\nHost: metrics.example\r\n\r\n")

    assert by_loopback.status == 200
    assert parsed(by_name).status == 403


async def test_with_tokens_neither_the_api_nor_the_page_answers_without_one(
    migrated_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"reader {hashlib.sha256(b'secret').hexdigest()}\n")
    paths = ["/v1/patterns", "/v1/distribution", "/v1/gaps", "/v1/changes"]
    async with reading(migrated_database_url, Access(Tokens(file, "API_TOKENS_FILE"))) as program:
        without = [(await program.request(path)).status for path in paths]
        lookup = (await program.look_up(ids=[])).status
        right = [(await program.request(path, "Authorization: Bearer secret")).status for path in paths]
        shell = (await program.request("/")).status
        document = (await program.request("/openapi.json")).json

    assert without == [401] * len(paths)
    assert lookup == 401
    assert right == [200] * len(paths)
    assert shell == 200
    assert document["security"] == [{"token": []}]


@pytest.mark.parametrize("has_worker", [True, False])
async def test_each_answer_is_what_the_document_says(migrated_database_url: str, has_worker: bool) -> None:
    event = an_event(1, **dimensions(complexity=0.5))
    await fill(migrated_database_url, [event, an_event(1, seconds=9, score=0.9), an_event(2), b"no JSON"])
    await fill_progress(migrated_database_url)
    metrics = Metrics()
    metrics.lag_observed({("scores", 0): 5})
    watched = Watched(Health(), metrics, "group", ["scores"]) if has_worker else None
    values = {"{pattern_id}": str(UUID(int=1)), "{event_id}": str(event.event_id)}
    validated = list[str]()

    async with reading(migrated_database_url, watched=watched) as program:
        [letter] = (await program.request("/v1/dead-letters")).json["rows"]
        queries = {
            "/v1/dead-letter": f"topic={letter['topic']}&partition={letter['partition']}"
            f"&offset={letter['offset']}&timestamp={letter['record_timestamp']}"
        }
        document = (await program.request("/openapi.json")).json
        for path, operations in document["paths"].items():
            address = re.sub(r"{\w+}", lambda found: values[found[0]], path)
            for method, operation in operations.items():
                body = b"{}" if method == "post" else b""
                answer = await program.request(
                    f"{address}?{queries.get(path, '')}", method=method.upper(), body=body
                )
                assert answer.status == 200, answer.body
                content = operation["responses"]["200"]["content"]["application/json"]
                jsonschema.Draft202012Validator({**content["schema"], **document}).validate(answer.json)
                validated.append(path)

    assert set(validated) == {route.path for route in served_routes() if route.path.startswith("/v1/")}


def served_routes() -> list[Route]:
    page = Page(DatabaseSettings(database_url=SecretStr("postgresql://nobody@localhost/none")))
    return [route for route in page.routes if isinstance(route, Route)]


async def test_every_path_that_the_page_requests_is_in_the_document(program: Program) -> None:
    document = (await program.request("/openapi.json")).json
    scripts = Path(__file__).parents[2] / "consumer" / "dashboard" / "static"
    requested = {
        re.sub(r"\${[^}]*}", "{}", path)
        for script in scripts.glob("*.js")
        for path in re.findall(r"""["`](v1/[^"`]*|api/[^"`]*)["`]""", script.read_text())
    }

    assert requested
    assert requested <= {re.sub(r"{\w+}", "{}", path[1:]) for path in document["paths"]}
