-- The number of patterns in an export.
SELECT count(*) FROM pattern_quality_current
WHERE ($1::double precision IS NULL OR quality_score >= $1)
  AND ($2::text IS NULL OR band = $2)
