"""docker-compose.yml agrees with the settings, the commands and itself; this needs no container engine."""

import re
from pathlib import Path
from typing import Any, cast

import pytest
import typer
import yaml

from pattern_metrics.consumer.cli.app import app
from pattern_metrics.consumer.postgres.connection import CONNECT_SECONDS_MAX
from pattern_metrics.consumer.settings import GatewaySettings, LogSettings, WorkerSettings
from pattern_metrics.consumer.telemetry.spans import SPAN_FLUSH_SECONDS_MAX
from pattern_metrics.schemas.settings.kafka import KafkaSettings
from pattern_metrics.schemas.settings.timing import TIMING

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()

Service = dict[str, Any]

SERVICES: dict[str, Service] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ONE_SHOT = {
    name
    for service in SERVICES.values()
    for name, dependency in service.get("depends_on", {}).items()
    if dependency["condition"] == "service_completed_successfully"
}
FIELDS = WorkerSettings.model_fields | LogSettings.model_fields | GatewaySettings.model_fields

PASSWORD = re.compile(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}")


def seconds(duration: str) -> int:
    match = re.fullmatch(r"(\d+)s", duration)
    assert match
    return int(match[1])


def listeners(name: str) -> dict[str, str]:
    """Return host and port by listener, from one of Kafka's variables."""
    pairs = SERVICES["kafka"]["environment"][name].split(",")
    return dict(pair.split("://") for pair in pairs)


def parse(words: list[str]) -> None:
    """Check words against the tree of commands, and run nothing. Raises `UsageError` for a wrong word."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    command.make_context(command.name, list(words))


def test_it_has_the_services_that_the_worker_needs() -> None:
    assert set(SERVICES) == {*OURS, "kafka", "postgres", "prometheus", "grafana"}
    assert set(OURS) == {"topic", "migrate", "worker", "dashboard", "gateway"}
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["gateway"]
    assert sorted(ONE_SHOT) == ["migrate", "topic"]


@pytest.mark.parametrize("name", OURS)
def test_each_variable_of_ours_is_a_setting_and_its_value_is_valid(name: str) -> None:
    environment = OURS[name]["environment"]
    fields = {variable.lower(): value for variable, value in environment.items()}
    fields = {field: PASSWORD.sub("s3cret", str(value)) for field, value in fields.items()}

    assert set(environment) <= {field.upper() for field in FIELDS}
    WorkerSettings.model_validate({"database_url": "postgresql://", **fields})
    GatewaySettings.model_validate(fields)
    LogSettings.model_validate(fields)


@pytest.mark.parametrize("name", OURS)
def test_each_command_of_ours_is_one_that_there_is(name: str) -> None:
    assert DOCKERFILE[-1] == 'ENTRYPOINT ["pattern-metrics"]'
    parse(OURS[name]["command"])


def test_a_command_that_there_is_not_would_be_noticed() -> None:
    with pytest.raises(KeyError):
        parse(["consumes"])
    with pytest.raises(Exception, match="--checks"):
        parse(["consume", "--checks"])


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_that_stays_has_a_health_check_and_is_restarted(name: str) -> None:
    service = SERVICES[name]

    # Our services have the image's health check.
    assert ("healthcheck" in service) == (name not in OURS)
    assert service.get("restart") == (None if name in ONE_SHOT else "unless-stopped")


def test_the_health_of_the_worker_is_asked_where_it_is_served() -> None:
    port = FIELDS["http_port"].default

    assert not {"HTTP_PORT", "HTTP_HOST"} & SERVICES["worker"]["environment"].keys()
    assert f"EXPOSE {port}" in DOCKERFILE
    assert any(
        line.startswith("ENV ") and line.endswith(f" HTTP_HOST=0.0.0.0 HTTP_PORT={port}")
        for line in DOCKERFILE
    )
    # The check uses the same settings, whatever their values.
    assert [line.partition(" CMD ")[2] for line in DOCKERFILE if line.startswith("HEALTHCHECK ")] == [
        '["python", "-m", "pattern_metrics.consumer.alive"]'
    ]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_waits_for_what_it_uses_and_that_is_there(name: str) -> None:
    dependencies = SERVICES[name].get("depends_on", {})
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": {"kafka", "topic"} - {name},
        "DATABASE_URL": {"postgres", "migrate"} - {name},
    }
    needed = set[str]().union(
        *(settings.get(variable, ()) for variable in OURS.get(name, {}).get("environment", {}))
    )
    if name == "grafana":
        needed = {"prometheus"}

    assert set(dependencies) == needed
    for dependency, how in dependencies.items():
        healthy = "service_completed_successfully" if dependency in ONE_SHOT else "service_healthy"
        assert how == {"condition": healthy}


def test_kafka_advertises_an_address_for_the_services_and_one_for_the_machine() -> None:
    advertised, listening = listeners("KAFKA_ADVERTISED_LISTENERS"), listeners("KAFKA_LISTENERS")
    services = {service["environment"].get("KAFKA_BOOTSTRAP_SERVERS") for service in OURS.values()} - {None}
    default = KafkaSettings.model_fields["kafka_bootstrap_servers"].default
    [published] = SERVICES["kafka"]["ports"]

    assert services == {advertised["SERVICES"]} == {"kafka:19092"}
    assert advertised["MACHINE"] == default
    assert published == f"127.0.0.1:{default.partition(':')[2]}:{default.partition(':')[2]}"
    assert set(listening) == {*advertised, "CONTROLLER"}
    for listener, address in advertised.items():
        assert listening[listener] == f":{address.partition(':')[2]}"
    assert SERVICES["kafka"]["healthcheck"]["test"][-1] in services


def test_the_services_use_the_created_database_with_no_more_rights_than_they_need() -> None:
    made = SERVICES["postgres"]["environment"]
    url = f"postgresql://{made['POSTGRES_USER']}:{made['POSTGRES_PASSWORD']}@postgres:5432/{made['POSTGRES_DB']}"

    assert {name: service["environment"].get("DATABASE_URL") for name, service in OURS.items()} == {
        "topic": None,
        "migrate": url,
        "worker": f"{url}?role=pattern_metrics_worker",
        "dashboard": f"{url}?role=pattern_metrics_reader",
        "gateway": None,
    }


def test_the_page_is_published_from_where_it_is_served() -> None:
    port = FIELDS["http_port"].default

    assert SERVICES["dashboard"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert not {"HTTP_PORT", "HTTP_HOST"} & SERVICES["dashboard"]["environment"].keys()


def test_the_one_secret_comes_from_outside_and_is_required() -> None:
    secrets = [
        (name, variable, str(value))
        for name, service in SERVICES.items()
        for variable, value in service.get("environment", {}).items()
        if re.search(r"PASSWORD|SECRET|TOKEN|DATABASE_URL", variable)
    ]

    assert {(name, variable) for name, variable, _ in secrets} == {
        ("postgres", "POSTGRES_PASSWORD"),
        ("migrate", "DATABASE_URL"),
        ("worker", "DATABASE_URL"),
        ("dashboard", "DATABASE_URL"),
        ("gateway", "GATEWAY_TOKENS_FILE"),
    }
    assert all(len(PASSWORD.findall(value)) == 1 for _, name, value in secrets if not name.endswith("_FILE"))
    tokens = SERVICES["gateway"]["environment"]["GATEWAY_TOKENS_FILE"]
    directory = tokens.rpartition("/")[0]  # a file that is mounted alone stays as it is when it is replaced
    assert [volume.rsplit(":", 2)[1:] for volume in SERVICES["gateway"]["volumes"]] == [[directory, "ro"]]
    assert not re.search(r"://\w+:(?!\$\{)[^/\s]+@", COMPOSE)
    assert not [line for line in DOCKERFILE if re.match(r"(ARG|ENV)\b", line) and "PATH=" not in line]


def test_nobody_can_log_in_to_what_only_shows() -> None:
    environment = SERVICES["grafana"]["environment"]

    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


@pytest.mark.parametrize("name", OURS)
def test_ours_can_neither_write_to_their_image_nor_gain_rights(name: str) -> None:
    service = OURS[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_no_port_is_open_to_other_machines() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


def test_images_are_pinned_by_version() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    bases = [line.split()[1] for line in DOCKERFILE if line.startswith("FROM ")]

    assert len(images) == 4
    assert len(set(bases)) == 1
    assert all(re.fullmatch(r"[\w/]+:v?\d+\.\d[\w.-]*", image) for image in images + bases)


def test_a_volume_is_mounted_where_the_server_writes() -> None:
    # PostgreSQL 18's image keeps its data in a versioned directory below this one.
    assert SERVICES["postgres"]["volumes"] == ["postgres-data:/var/lib/postgresql"]
    assert SERVICES["kafka"]["volumes"] == [
        f"kafka-data:{SERVICES['kafka']['environment']['KAFKA_LOG_DIRS']}"
    ]
    assert "prometheus-data:/prometheus" in SERVICES["prometheus"]["volumes"]
    assert set(yaml.safe_load(COMPOSE)["volumes"]) == {"kafka-data", "postgres-data", "prometheus-data"}


def test_the_worker_has_the_time_to_stop_cleanly() -> None:
    worker = SERVICES["worker"]
    grace = cast("int", worker["environment"]["SHUTDOWN_GRACE_SECONDS"])

    assert (
        seconds(worker["stop_grace_period"])
        > grace + TIMING.leave + CONNECT_SECONDS_MAX + SPAN_FLUSH_SECONDS_MAX
    )


def test_the_image_runs_as_a_plain_user_and_is_built_from_what_is_named_alone() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        word
        for line in DOCKERFILE
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }

    assert "USER 65532:65532" in DOCKERFILE
    assert "*" in ignored
    assert allowed == copied
    assert all((ROOT / name).exists() for name in allowed)


def test_prometheus_scrapes_worker_and_gateway_where_they_serve() -> None:
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8")
    scraped = [job["dns_sd_configs"][0] for job in yaml.safe_load(text)["scrape_configs"]]

    assert [job["names"] for job in scraped] == [["worker"], ["gateway"]]
    assert {job["port"] for job in scraped} == {FIELDS["http_port"].default}
    assert "HTTP_PORT" not in SERVICES["gateway"]["environment"]
