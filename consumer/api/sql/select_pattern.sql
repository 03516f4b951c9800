-- One pattern: its row as it is stored, and in the form for people.
SELECT
    (to_jsonb(stored) - 'metadata')::text AS stored,
    left(jsonb_pretty(stored.metadata), 200000) AS metadata,
    length(jsonb_pretty(stored.metadata)) > 200000 AS is_cut,
    (to_jsonb(shown) - '{name,dimensions}'::text[])::text AS shown, shown.name, shown.dimensions
FROM pattern_quality_metrics AS stored
JOIN LATERAL (
    SELECT
        pattern_id, metadata -> 'name' AS name, quality_score, band, confidence, version, measurement_timestamp,
        metadata -> 'dimensions' AS dimensions
    FROM pattern_quality_current AS present
    WHERE present.pattern_id = stored.pattern_id
    LIMIT 1
) AS shown ON true
WHERE stored.pattern_id = $1
ORDER BY stored.measurement_timestamp DESC
LIMIT 1
