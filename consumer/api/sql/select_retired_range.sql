-- A page of retired patterns in the order of their index, each with its last row as far as there is one.
SELECT (to_jsonb(shown) - '{name,dimensions}'::text[])::text AS shown, shown.name, shown.dimensions, pattern_id
FROM (
    SELECT
        pattern_id, coalesce(metadata -> 'name', retirement_metadata -> 'name') AS name, retired_at, reason, event_id,
        quality_score, CASE WHEN quality_score IS NOT NULL THEN pattern_quality_band(quality_score) END AS band,
        confidence, version, measurement_timestamp, metadata -> 'dimensions' AS dimensions
    FROM pattern_quality_retired AS retired
    WHERE retired.pattern_id >= $1::uuid
    ORDER BY retired.pattern_id
    LIMIT $2
) AS shown
ORDER BY pattern_id
