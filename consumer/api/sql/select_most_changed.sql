-- The patterns whose score changed most since the measurement before, among those with a history; from a percentage of
-- the blocks.
SELECT (to_jsonb(shown) - '{name,dimensions}'::text[])::text AS shown, shown.name, shown.dimensions
FROM (
    SELECT
        present.pattern_id, present.quality_score - earlier.quality_score AS change,
        earlier.quality_score AS earlier_quality_score,
        earlier.measurement_timestamp AS earlier_measurement_timestamp
    FROM pattern_quality_metrics AS present
        TABLESAMPLE SYSTEM ($1::double precision) REPEATABLE ($2::double precision)
    CROSS JOIN LATERAL (
        SELECT quality_score, measurement_timestamp
        FROM pattern_quality_history AS past
        WHERE past.pattern_id = present.pattern_id
          AND past.measurement_timestamp < present.measurement_timestamp
        ORDER BY past.measurement_timestamp DESC
        LIMIT 1
    ) AS earlier
    WHERE present.quality_score <> earlier.quality_score
    ORDER BY abs(present.quality_score - earlier.quality_score) DESC, present.pattern_id
    LIMIT $3
) AS page
CROSS JOIN LATERAL (
    SELECT
        pattern_id, metadata -> 'name' AS name, quality_score, band, confidence, version, measurement_timestamp,
        metadata -> 'dimensions' AS dimensions,
        page.change, page.earlier_quality_score, page.earlier_measurement_timestamp
    FROM pattern_quality_current AS present
    WHERE present.pattern_id = page.pattern_id
    LIMIT 1
) AS shown
ORDER BY abs(page.change) DESC, page.pattern_id
