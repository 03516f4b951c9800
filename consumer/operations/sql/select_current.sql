-- The rows for readers, in the order of the unique index: no sort, so that the first row comes at once.
SELECT pattern_id::text, metadata -> 'name' AS name, quality_score, band, confidence, measurement_timestamp, version,
       completeness, documentation, compliance, metadata_richness, complexity, metadata -> 'dimensions' AS dimensions,
       metadata, event_id::text, updated_at
FROM pattern_quality_current AS present
WHERE ($1::double precision IS NULL OR quality_score >= $1)
  AND ($2::text IS NULL OR band = $2)
ORDER BY present.pattern_id
