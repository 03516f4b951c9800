"""A command's memory depends on its batches, not on the size of the topic or file."""

import gzip
import sys

import pytest

from pattern_metrics.consumer.settings import WorkerSettings
from tests.support.command import PROGRAM, CommandLine
from tests.support.pipeline import an_event, send

MIB = 1024 * 1024

# Runs a command, and prints its peak memory.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


async def peak_bytes(command: CommandLine, *arguments: str) -> int:
    measured = await command.run_program(
        sys.executable, "-c", MEASURE, PROGRAM, *arguments, batch_max_records=50
    )
    return int(measured.succeeded().stdout)


@pytest.mark.long
async def test_a_topic_is_folded_in_bounded_memory(
    real_command: CommandLine, real_settings: WorkerSettings
) -> None:
    large = {"filler": "x" * 60_000}
    await send(real_settings, [an_event(0, metadata=large).to_json()])
    (await real_command.run("consume", "--until-caught-up")).succeeded()
    little = await peak_bytes(real_command, "verify", "--against-topic")
    await send(real_settings, [an_event(number, metadata=large).to_json() for number in range(1, 2000)])
    (await real_command.run("consume", "--until-caught-up", batch_max_records=50)).succeeded()

    verify = await peak_bytes(real_command, "verify", "--against-topic")
    replay = await peak_bytes(real_command, "replay")

    assert max(verify, replay) - little < 60 * MIB, (little // MIB, verify // MIB, replay // MIB)


@pytest.mark.long
async def test_a_packed_array_is_read_in_bounded_memory(database_command: CommandLine) -> None:
    """All rows are skipped for their confidence, so that reading is measured and not writing."""

    async def peak(count: int) -> int:
        event = an_event(0, metadata={"filler": "x" * 60_000}).to_json()
        file = database_command.directory / f"{count}.json.gz"
        file.write_bytes(gzip.compress(b"[" + b",".join([event] * count) + b"]"))
        return await peak_bytes(database_command, "backfill", str(file), "--min-confidence", "1")

    little, much = await peak(1), await peak(4000)

    assert much - little < 80 * MIB, (little // MIB, much // MIB)
