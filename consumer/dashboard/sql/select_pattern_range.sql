-- A page of patterns in the order of their index: at once, however many there are.
SELECT row_to_json(shown)::text AS shown, pattern_id
FROM (
    SELECT
        pattern_id, left(name, 300) AS name, quality_score, band, confidence, version, measurement_timestamp,
        completeness, documentation, compliance, metadata_richness, complexity
    FROM pattern_quality_current AS present
    WHERE present.pattern_id >= $1::uuid
    ORDER BY present.pattern_id
    LIMIT $2
) AS shown
ORDER BY pattern_id
