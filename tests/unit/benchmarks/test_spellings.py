from datetime import UTC, datetime

from benchmarks.events import Shape, generate
from benchmarks.spellings import MIXED, SPELLINGS, speller
from pattern_metrics.schemas.pattern_scored import parse_event

EVENTS = [event for _, event in generate(Shape("spelled", 200))]


def test_each_spelling_holds_the_same_events() -> None:
    ids = [event.event_id for event in EVENTS]
    for spelling in ("own", *SPELLINGS, MIXED):
        values = map(speller(spelling), EVENTS)
        assert [parse_event(value, accepted_until=datetime.now(UTC)).event_id for value in values] == ids


def test_the_mixed_topic_has_every_spelling() -> None:
    marks = {b'": ', b"scorerHost", b"+02:00", b"author", b'Z","'}
    texts = list(map(speller(MIXED), EVENTS))
    assert {mark for mark in marks if any(mark in text for text in texts)} == marks
    assert any(event.to_json() in texts for event in EVENTS)
