-- Measurements and retirements of a pattern that the history knows, the newest first, before a time.
SELECT row_to_json(shown)::text AS shown, shown.measurement_timestamp::text AS measured
FROM (
    SELECT measurement_timestamp, quality_score, confidence, version, reason, event_id
    FROM pattern_quality_history
    WHERE pattern_id = $1 AND ($2::timestamptz IS NULL OR measurement_timestamp < $2)
    ORDER BY measurement_timestamp DESC
    LIMIT $3
) AS shown
ORDER BY shown.measurement_timestamp DESC
