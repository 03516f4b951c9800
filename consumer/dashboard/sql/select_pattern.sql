-- One pattern: its row as it is stored, and what readers make of it.
SELECT
    (to_jsonb(stored) - 'metadata')::text AS stored,
    left(jsonb_pretty(stored.metadata), 200000) AS metadata,
    length(jsonb_pretty(stored.metadata)) > 200000 AS is_cut,
    row_to_json(shown)::text AS shown
FROM pattern_quality_metrics AS stored
JOIN LATERAL (
    SELECT
        pattern_id, left(name, 1100) AS name, quality_score, band, confidence, version, measurement_timestamp,
        completeness, documentation, compliance, metadata_richness, complexity
    FROM pattern_quality_current AS present
    WHERE present.pattern_id = stored.pattern_id
    LIMIT 1
) AS shown ON true
WHERE stored.pattern_id = $1
ORDER BY stored.measurement_timestamp DESC
LIMIT 1
