-- The places of the database where an event is: current row, retired patterns, history, dead letters. $2 is its pattern, or
-- null; $3 is a regular expression that finds its id in JSON.
SELECT
    'current' AS state, pattern_id, measurement_timestamp, updated_at AS noted_at,
    NULL::uuid AS superseded_by, NULL::timestamptz AS superseding_timestamp,
    NULL AS topic, NULL::integer AS "partition", NULL::bigint AS "offset", NULL AS reason, NULL AS detail
FROM pattern_quality_metrics
WHERE event_id = $1 AND ($2::uuid IS NULL OR pattern_id = $2)
UNION ALL
SELECT
    CASE WHEN event_id = $1 THEN 'current' ELSE 'superseded' END, pattern_id,
    CASE WHEN event_id = $1 THEN retired_at ELSE measurement_timestamp END, updated_at,
    nullif(event_id, $1), CASE WHEN event_id = $1 THEN NULL ELSE retired_at END,
    NULL, NULL, NULL, NULL, NULL
FROM pattern_quality_retired
WHERE $1 IN (event_id, last_event_id) AND ($2::uuid IS NULL OR pattern_id = $2)
UNION ALL
SELECT
    'in_history', past.pattern_id, past.measurement_timestamp, past.created_at,
    coalesce(present.event_id, retired.event_id), coalesce(present.measurement_timestamp, retired.retired_at),
    NULL, NULL, NULL, NULL, NULL
FROM pattern_quality_history AS past
LEFT JOIN pattern_quality_metrics AS present USING (pattern_id)
LEFT JOIN pattern_quality_retired AS retired USING (pattern_id)
WHERE past.event_id = $1 AND ($2::uuid IS NULL OR past.pattern_id = $2) 
    AND coalesce(present.event_id, retired.event_id) IS DISTINCT FROM $1
UNION ALL
SELECT
    'dead_letter', NULL, NULL, noticed_at,
    NULL, NULL,
    topic, "partition", "offset", reason, detail
FROM dead_letters
WHERE
    headers @> jsonb_build_array(jsonb_build_object('key', 'ce_id', 'value', $1::text))
    OR encode(value, 'escape') ~* $3
