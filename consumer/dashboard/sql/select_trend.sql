-- The latest measurements and retirements of a pattern that the history knows, the newest first.
SELECT row_to_json(shown)::text
FROM (
    SELECT measurement_timestamp, quality_score, confidence, version, reason
    FROM pattern_quality_history
    WHERE pattern_id = $1
    ORDER BY measurement_timestamp DESC
    LIMIT $2
) AS shown
