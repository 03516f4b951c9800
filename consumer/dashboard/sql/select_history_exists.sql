-- Whether any measurement is kept in the history.
SELECT EXISTS (SELECT FROM pattern_quality_history)
