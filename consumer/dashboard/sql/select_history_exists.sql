-- Whether the history holds any measurement.
SELECT EXISTS (SELECT FROM pattern_quality_history)
