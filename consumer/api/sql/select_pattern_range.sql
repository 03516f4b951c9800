-- A page of patterns in the order of their index: at once, however many there are.
SELECT (to_jsonb(shown) - '{name,dimensions}'::text[])::text AS shown, shown.name, shown.dimensions, pattern_id
FROM (
    SELECT
        pattern_id, metadata -> 'name' AS name, quality_score, band, confidence, version, measurement_timestamp,
        metadata -> 'dimensions' AS dimensions
    FROM pattern_quality_current AS present
    WHERE present.pattern_id >= $1::uuid
    ORDER BY present.pattern_id
    LIMIT $2
) AS shown
ORDER BY pattern_id
