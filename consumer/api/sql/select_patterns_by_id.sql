-- The patterns with these ids that there are.
SELECT (to_jsonb(shown) - '{name,dimensions}'::text[])::text AS shown, shown.name, shown.dimensions, shown.pattern_id
FROM unnest($1::uuid[]) AS asked (pattern_id)
CROSS JOIN LATERAL (
    SELECT
        pattern_id, metadata -> 'name' AS name, quality_score, band, confidence, version, measurement_timestamp,
        metadata -> 'dimensions' AS dimensions
    FROM pattern_quality_current AS present
    WHERE present.pattern_id = asked.pattern_id
    LIMIT 1
) AS shown
