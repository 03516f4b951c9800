"""The event of a score, from what an agent knows of it."""

from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from pattern_metrics.publisher.score import RetirementDetails, Score, retirement_event, score_event

KNOWN: dict[str, Any] = {"pattern": "shop:total", "quality_score": 0.5, "confidence": 1}


@drawn(name=st.sampled_from(["dimension", "metadatas", "measurement_timestamp", "because"]) | st.text())
def test_an_argument_that_there_is_not_is_an_error_and_not_ignored(name: str) -> None:
    given: dict[str, Any] = {name: 1}
    if name not in Score.__annotations__:
        with pytest.raises(TypeError, match="unexpected argument"):
            score_event(**KNOWN, **given)
    if name not in {"pattern", "because", *RetirementDetails.__annotations__}:
        with pytest.raises(TypeError, match="unexpected argument"):
            retirement_event("shop:total", None, **given)


@drawn(score=st.floats() | st.integers())
def test_a_dimension_is_from_0_to_1(score: float) -> None:
    if 0 <= score <= 1:
        event = score_event(**KNOWN, dimensions={"a": score})
        assert event.metadata["dimensions"] == {"a": score}
    else:
        with pytest.raises(ValueError, match="dimensions: a is not from 0 to 1"):
            score_event(**KNOWN, dimensions={"a": score})
