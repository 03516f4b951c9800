"""The tool that publishes: `publish_scores`."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from mcp.server.mcpserver import Context
from pydantic import Field, WithJsonSchema

from pattern_metrics.consumer.gateway.delivery import Delivered, Delivery, StoredLocally, hint_of
from pattern_metrics.consumer.gateway.events import Outgoing, RefusedItem, decide
from pattern_metrics.consumer.mcp.answers import PublishedScores, ScoreResult
from pattern_metrics.consumer.telemetry.metric_table import REFUSED_BY_KAFKA
from pattern_metrics.publisher.outbox.row import SOURCE_DEFAULT
from pattern_metrics.publisher.records import Acknowledged, Refused
from pattern_metrics.publisher.score import identity_of
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.settings.clock import ClockSettings

SCORES_MAX: Final = 100
"""Most scores of one call."""

SAME_SCORE_SECONDS: Final = 600.0
"""A score without a time that is given again within this time is the same measurement."""

REMEMBERED_MAX: Final = 10_000

_UNIT: Final = {"type": "number", "minimum": 0, "maximum": 1}

Scores = Annotated[
    list[
        Annotated[
            Any,  # the worker's decoder decides about each score, so that one wrong score refuses no other
            WithJsonSchema(
                {
                    "type": "object",
                    "required": ["pattern", "quality_score", "confidence"],
                    "properties": {
                        "pattern": {
                            "type": "string",
                            "description": "id, or name such as module:Class.method",
                        },
                        "quality_score": _UNIT,
                        "confidence": _UNIT,
                        "dimensions": {"type": "object", "additionalProperties": _UNIT},
                        "metadata": {"type": "object"},
                        "version": {"type": "string"},
                        "measured_at": {"type": "string", "description": "RFC 3339; default now"},
                        "event_id": {"type": "string", "description": "UUID, to repeat an event"},
                    },
                }
            ),
        ]
    ],
    Field(min_length=1, max_length=SCORES_MAX),
]


class PublishTools:
    """Publishes scores for a language model.

    Args:
        delivery: publishes events.
        clock: the limit for agents' clocks.
    """

    def __init__(self, delivery: Delivery, clock: ClockSettings) -> None:
        self._delivery = delivery
        self._clock = clock
        self._measured = dict[bytes, tuple[float, str]]()

    async def publish_scores(self, scores: Scores, context: Context[Any, Any]) -> PublishedScores:
        """Publish scores. Each is accepted, refused for good, or unacknowledged: then repeat the call.

        A repeated call publishes the same events, which changes nothing. durable: `local` means that the
        broker is away, and the outbox delivers the events later.
        """
        await self._delivery.wait_for_first_answer()
        decided = self._decide(scores)
        events = [one for one in decided if isinstance(one, Outgoing)]
        outcomes = iter(await self._delivery.deliver(events, _source(context)))
        pairs = [(one, next(outcomes) if isinstance(one, Outgoing) else None) for one in decided]
        results = [_result(one, outcome) for one, outcome in pairs]
        stored = sum(isinstance(outcome, StoredLocally) for _, outcome in pairs)
        counts = [result["status"] for result in results]
        return {
            "accepted": counts.count("accepted"),
            "refused": counts.count("refused"),
            "unacknowledged": counts.count("unacknowledged"),
            "durable": "local" if stored else "kafka",
            "note": f"the broker is away: {stored} events wait in the outbox" if stored else None,
            "results": results,
        }

    def _decide(self, scores: Sequence[object]) -> list[Outgoing | RefusedItem]:
        now = datetime.now(UTC)
        items = [self._event_of(score, now) for score in scores]
        valid = [item for item in items if isinstance(item, bytes)]
        decided = iter(decide(valid, (), accepted_until=self._clock.accepted_until(now)))
        return [next(decided) if isinstance(item, bytes) else item for item in items]

    def _event_of(self, score: object, now: datetime) -> bytes | RefusedItem:
        """Return the JSON of the event of a score, for the worker's decoder."""
        if not isinstance(score, dict):
            return RefusedItem(RejectReason.NOT_AN_OBJECT, "a score is an object")
        try:
            event = dict(_fields(score))
            text = json.dumps(event, sort_keys=True)
            if "measurement_timestamp" not in event:
                event["measurement_timestamp"] = self._time_of(text, now)
                text = json.dumps(event)
            return text.encode()
        except RecursionError:
            return RefusedItem(RejectReason.TOO_DEEP, "the score is nested too deep")
        except (TypeError, ValueError):
            return RefusedItem(RejectReason.INVALID_FIELD, "pattern is an id or a name that is not empty")

    def _time_of(self, score: str, now: datetime) -> str:
        """Return the time of a score: now, or the time at which the same score was given before."""
        digest, moment = hashlib.blake2b(score.encode(), digest_size=16).digest(), time.monotonic()
        given_at, text = self._measured.pop(digest, (moment - SAME_SCORE_SECONDS, ""))
        if moment - given_at >= SAME_SCORE_SECONDS:
            given_at, text = moment, now.isoformat()
        self._measured[digest] = given_at, text
        while len(self._measured) > REMEMBERED_MAX:
            del self._measured[next(iter(self._measured))]
        return text


def _fields(score: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of the event of a score, as far as the score has them.

    Raises:
        TypeError: `pattern` is no text.
        ValueError: `pattern` is empty, or no text that UTF-8 can hold.
    """
    metadata = score.get("metadata") or {}
    if "pattern" in score:
        if not isinstance(score["pattern"], str):
            raise TypeError
        pattern_id, named = identity_of(score["pattern"], metadata if isinstance(metadata, dict) else {})
        yield "pattern_id", str(pattern_id)
        metadata = named if isinstance(metadata, dict) else metadata
    if isinstance(metadata, dict) and "dimensions" in score:
        metadata = {**metadata, "dimensions": score["dimensions"]}
    yield "metadata", metadata
    if "measured_at" in score:
        yield "measurement_timestamp", score["measured_at"]
    for name in ("event_id", "quality_score", "confidence", "version"):
        if name in score:
            yield name, score[name]


def _source(context: Context[Any, Any]) -> str:
    """Return the CloudEvents source of a call: the name of its token, if there are tokens."""
    request = context.request_context.request
    return getattr(request.state, "client", None) or SOURCE_DEFAULT if request else SOURCE_DEFAULT


def _result(one: Outgoing | RefusedItem, outcome: Delivered | None) -> ScoreResult:
    if isinstance(one, RefusedItem):
        return {"event_id": None, "status": "refused", "reason": one.reason, "detail": one.detail}
    event_id = str(one.event_id)
    match outcome:
        case Acknowledged() | StoredLocally() | None:
            return {"event_id": event_id, "status": "accepted", "reason": None, "detail": None}
        case Refused(reason):
            return {
                "event_id": event_id,
                "status": "refused",
                "reason": REFUSED_BY_KAFKA,
                "detail": reason,
            }
        case _:
            detail = hint_of(outcome.error)
            return {
                "event_id": event_id,
                "status": "unacknowledged",
                "reason": "unacknowledged",
                "detail": detail,
            }
