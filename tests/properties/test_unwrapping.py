"""An event is read unchanged from any wrapping, in the one order of unwrapping."""

import json
from base64 import b64encode
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pattern_metrics.consumer.records.decoding import decode, decode_all
from pattern_metrics.consumer.records.record import Accepted, Rejected
from pattern_metrics.schemas.dead_letter import RejectReason
from pattern_metrics.schemas.pattern_scored import EVENT_TYPE, PatternScored
from tests.support.events import ACCEPTED_UNTIL, TopicRecord, as_scored, event, events

OTHER_TYPE = "pattern.score.retracted.v1"

prefixes = st.one_of(
    st.just(b""),
    st.integers(0, 2**24).map(lambda schema: b"\0" + schema.to_bytes(4)),
    st.integers(0, 2**31).map(lambda schema: b"\0" + schema.to_bytes(8)),
    st.binary(min_size=16, max_size=16).map(lambda schema: b"\1" + schema),
    st.binary(min_size=16, max_size=16).map(lambda schema: b"\3\0" + schema),
)
paths = st.sampled_from([(), ("payload",), ("payload", "event"), ("data",), ("a", "b", "c")])
types: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"type": None}, {"type": EVENT_TYPE}, {"type": OTHER_TYPE}]
)
content_types = st.sampled_from(
    [b"application/json", b"application/cloudevents+json", b'"application/cloudevents+json"', b""]
)


class Wrapped:
    """A value that is wrapped from the inside out, and the record around it."""

    def __init__(self, content: PatternScored) -> None:
        self.content: Any = json.loads(content.to_json())
        self.has_other_type = False
        self.is_cloud_event = False

    def put_under(self, path: tuple[str, ...], *, as_text: bool) -> None:
        for name in reversed(path):
            self.content = {"event_type": "scored", name: self._written(as_text=as_text), "correlation_id": 7}
        self.is_cloud_event = self.is_cloud_event and not path

    def make_cloud_event(self, form: str, attributes: dict[str, Any]) -> None:
        if form == "none":
            return
        if form == "base64":
            data = {"data_base64": b64encode(json.dumps(self.content).encode()).decode()}
        else:
            data = {"data": self._written(as_text=form == "text")}
        self.content = {"specversion": "1.0", "id": "1", "source": "/", **attributes, **data}
        self.has_other_type = self.has_other_type or attributes.get("type") == OTHER_TYPE
        self.is_cloud_event = True

    def _written(self, *, as_text: bool) -> Any:
        return json.dumps(self.content) if as_text else self.content


forms = st.sampled_from(["none", "object", "text", "base64"])


@st.composite
def sent(draw: st.DrawFn) -> tuple[PatternScored, tuple[str, ...], TopicRecord, bool]:
    """An event, the path of its envelope, its record, and whether something names another type."""
    content, path = draw(events | st.just(event())), draw(paths)
    wrapped = Wrapped(content)
    if path:
        wrapped.make_cloud_event(draw(forms), draw(types))
        wrapped.put_under(path, as_text=draw(st.booleans()))
    wrapped.make_cloud_event(draw(forms), draw(types))
    content_type = draw(content_types) if wrapped.is_cloud_event else b"application/json"
    header_type = draw(st.sampled_from([None, b"", EVENT_TYPE.encode(), OTHER_TYPE.encode()]))
    headers = (("content-type", content_type), ("ce_type", header_type))
    text = json.dumps(wrapped.content, ensure_ascii=draw(st.booleans())).encode()
    record = TopicRecord(draw(prefixes) + text, headers=tuple(draw(st.permutations(headers))))
    return content, path, record, wrapped.has_other_type or header_type == OTHER_TYPE.encode()


@settings(max_examples=500)
@given(sent())
def test_an_event_is_read_from_any_wrapping(
    drawn: tuple[PatternScored, tuple[str, ...], TopicRecord, bool],
) -> None:
    content, path, record, has_other_type = drawn

    alone = decode(record, accepted_until=ACCEPTED_UNTIL, envelope=path)
    [together] = decode_all([record], accepted_until=ACCEPTED_UNTIL, envelope=path)

    if has_other_type:
        assert isinstance(alone, Rejected)
        assert alone.reason is RejectReason.OTHER_TYPE
        assert together == alone
    else:
        assert isinstance(alone, Accepted)
        assert isinstance(together, Accepted)
        assert as_scored(alone.event) == as_scored(together.event) == content


@settings(max_examples=200)
@given(st.lists(sent(), max_size=12), paths)
def test_decode_all_gives_each_record_the_fate_that_decode_gives(
    drawn: list[tuple[PatternScored, tuple[str, ...], TopicRecord, bool]], path: tuple[str, ...]
) -> None:
    records = [record for _, _, record, _ in drawn]

    fates = decode_all(records, accepted_until=ACCEPTED_UNTIL, envelope=path)

    for record, fate in zip(records, fates, strict=True):
        alone = decode(record, accepted_until=ACCEPTED_UNTIL, envelope=path)
        if isinstance(alone, Rejected):
            assert fate == alone
        else:
            assert isinstance(fate, Accepted)
            assert as_scored(fate.event) == as_scored(alone.event)
