-- True if the history holds a measurement.
SELECT EXISTS (SELECT FROM pattern_quality_history)
