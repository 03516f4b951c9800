"""The OpenAPI document of the read API, against a running server."""

from pathlib import Path

from pattern_metrics.consumer.http.access import Access
from tests.page.conftest import fill, fill_progress
from tests.page.test_api import reading, retirement
from tests.support.gateway import TOKEN, tokens_in
from tests.support.openapi import check_openapi
from tests.support.pipeline import an_event


async def test_the_read_api_answers_as_its_document_says(migrated_database_url: str, tmp_path: Path) -> None:
    await fill(migrated_database_url, [an_event(1), an_event(2), retirement(2, "renamed"), b"no JSON"])
    await fill_progress(migrated_database_url)
    async with reading(migrated_database_url, Access(tokens_in(tmp_path))) as program:
        await check_openapi(program.port, tmp_path, f"--header=Authorization: Bearer {TOKEN}")
