"""The libraries of AsyncAPI and CloudEvents read what this project writes."""

import json
import subprocess
import venv
from pathlib import Path
from typing import Any, Final

import pytest

from pattern_metrics import ScorePublisher
from pattern_metrics.consumer.settings import WorkerSettings
from pattern_metrics.schemas.generate import ASYNCAPI_FILE
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from tests.languages.test_examples import BUILT, Command, records_of, run
from tests.support.pipeline import an_event
from tests.support.vectors import FILE

PYTHON: Final = """
import json, sys
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

record = json.load(open(sys.argv[1]))
headers = {name: value.encode() for name, value in record["headers"].items()}
event = from_kafka_event(KafkaMessage(headers, record["key"], record["value"].encode()))
named = {"id": event.get_id(), "type": event.get_type(), "source": event.get_source()}
print(json.dumps(named | {"data": event.get_data()}))
"""


def javascript(standard: str) -> Command:
    modules = BUILT / "standards"
    if not modules.exists():
        modules.mkdir(parents=True)
        options = ["--no-package-lock", "--no-save", "--ignore-scripts", "--silent"]
        run("npm", "install", *options, "@asyncapi/parser@3.6.3", "cloudevents@10.0.0", directory=modules)
    return ["node", Path(__file__).with_name("standards.mjs"), modules, standard]


def python() -> Command:
    environment = BUILT / "cloudevents"
    if not environment.exists():
        venv.create(environment, with_pip=True)
        run(environment / "bin/pip", "install", "--quiet", "cloudevents==2.2.0", directory=BUILT)
    return [environment / "bin/python", "-c", PYTHON]


def go() -> Command:
    source, program = Path(__file__).with_name("cloudevents"), BUILT / "go/cloudevents"
    for arguments in (["mod", "tidy"], ["vet", "."], ["build", "-o", program, "."]):
        run("go", *arguments, directory=source)
    return [program]


def answer(*command: str | Path) -> Any:
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def test_the_asyncapi_document_passes_its_own_parser() -> None:
    said = answer(*javascript("asyncapi"), FILE.with_name(ASYNCAPI_FILE))

    assert said == {"channels": [KafkaSettings.model_fields["kafka_topic"].default], "errors": []}


async def test_the_sdks_of_cloudevents_read_a_published_record(
    settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
    monkeypatch.setenv("KAFKA_TOPIC", settings.kafka_topic)
    event = an_event()
    async with ScorePublisher() as publisher:
        await publisher.publish(event)
    record = (await records_of(settings, 1))[0]
    headers = {name: value.decode() for name, value in record.headers}
    file = tmp_path / "record.json"
    file.write_text(
        json.dumps({"key": record.key.decode(), "headers": headers, "value": record.value.decode()})
    )

    for command in (javascript("cloudevents"), python(), go()):
        assert answer(*command, file) == {
            "id": str(event.event_id),
            "type": "pattern.scored.v1",
            "source": headers["ce_source"],
            "data": json.loads(event.to_json()),
        }
