"""Go's net/http and fetch of Node publish through the gateway, with the lines of the guide."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pattern_metrics.consumer.records.accounting import Accounting
from pattern_metrics.consumer.settings import WorkerSettings
from tests.languages.test_examples import BUILT, Command, run
from tests.support.gateway import TOKEN, documented, gateway_settings, running_gateway, tokens_in
from tests.support.pipeline import catch_up, fetch


def go(port: int) -> Command:
    directory = BUILT / "go/gateway"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "main.go").write_text(documented("go", port), encoding="utf-8")
    run("go", "vet", "main.go", directory=directory)
    run("go", "build", "-o", "agent", "main.go", directory=directory)
    return [directory / "agent"]


def node(port: int) -> Command:
    return ["node", "--input-type=module", "--eval", documented("js", port)]


@pytest.mark.parametrize("language", [go, node])
async def test_a_client_publishes_and_sees_that_its_token_is_not_known(
    settings: WorkerSettings, tmp_path: Path, language: Callable[[int], Command]
) -> None:
    async with running_gateway(gateway_settings(settings), tokens_in(tmp_path)) as agent:
        await agent.wait_until_ready()
        command = await asyncio.to_thread(language, agent.port)
        published, stranger = [
            await asyncio.to_thread(
                subprocess.run, command, env={**os.environ, "TOKEN": token}, capture_output=True, timeout=120
            )
            for token in (TOKEN, "other")
        ]

    assert published.returncode == 0, published.stderr
    assert stranger.returncode != 0
    assert b"401" in stranger.stderr
    assert await catch_up(settings) == Accounting(applied=1)
    [row] = await fetch(settings, "SELECT * FROM pattern_quality_metrics")
    assert (row["quality_score"], row["confidence"]) == (0.82, 0.9)
