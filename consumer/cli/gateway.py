"""The command `gateway`: HTTP in, for agents without a Kafka client."""

import typer

from pattern_metrics.consumer.cli.common import KAFKA, load_settings, load_topic_to_publish, run, tracing
from pattern_metrics.consumer.cli.output import fail
from pattern_metrics.schemas import extras

gateway_app = typer.Typer()


@gateway_app.command()
def gateway() -> None:
    """Publish events that agents send over HTTP, at HTTP_HOST and HTTP_PORT.

    POST /v1/scores takes JSON, JSON Lines and CloudEvents, and answers once Kafka has acknowledged the
    events. An event that the worker would refuse is refused at once, with the same reason. While the broker
    is away, events are stored in the outbox (OUTBOX_PATH), if there is one. Clients need a token of
    GATEWAY_TOKENS_FILE, without which only a loopback address is served.

    /openapi.json, /livez, /readyz and /metrics are served as well. SIGTERM or Ctrl-C stops the gateway: it
    answers the requests in flight and exits with 0.
    """
    extras.require("worker")
    from pattern_metrics.consumer.gateway.serving import load_tokens, serve_gateway
    from pattern_metrics.consumer.http.listening import take_port
    from pattern_metrics.consumer.settings import GatewaySettings, InvalidSettingError, LogSettings
    from pattern_metrics.consumer.telemetry.logs import configure_logging
    from pattern_metrics.publisher.outbox.place import OutboxError

    load_topic_to_publish()
    settings = load_settings(GatewaySettings)
    configure_logging(load_settings(LogSettings), is_patient=True)
    if settings.http_port == 0:
        fail("error: HTTP_PORT: 0 turns HTTP off, and nothing else is served here", 2)
    try:
        tokens = load_tokens(settings)
        listener = take_port(settings)
    except InvalidSettingError as error:
        fail(f"error: {error}", 2)
    try:
        with tracing():
            run(
                serve_gateway(
                    settings,
                    tokens,
                    listener,
                    lambda address: typer.echo(f"the gateway is at {address} (Ctrl-C ends it)"),
                ),
                KAFKA,
            )
    except OutboxError as error:
        fail(f"error: {error}", 1)
