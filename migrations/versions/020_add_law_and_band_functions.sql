-- 020: the order of two events of a pattern, and the band of a score, each as one function.
-- Apply by hand, after 019: psql -v ON_ERROR_STOP=1 -f 020_add_law_and_band_functions.sql
-- Safe to repeat: it changes nothing if its work is done. A worker of an earlier release still runs; this release's
-- worker needs it.
\ir ../patiently.sql

-- The planner replaces a call by the function's expression, so that a call costs nothing at run time. It does
-- so for a single SQL expression that is neither STRICT nor SECURITY DEFINER and has no SET. PostgreSQL
-- parses the expression after RETURN now and not at each call, so a caller's search_path cannot change its
-- operators.

CREATE OR REPLACE FUNCTION pattern_metrics_supersedes(
    new_time timestamptz, new_event uuid, old_time timestamptz, old_event uuid
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (coalesce(new_time, '-infinity'), coalesce(new_event, '00000000-0000-0000-0000-000000000000'))
    > (coalesce(old_time, '-infinity'), coalesce(old_event, '00000000-0000-0000-0000-000000000000'));

COMMENT ON FUNCTION pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid) IS
    'Returns true if the new event of a pattern supersedes the old event: if it has the greater (measurement_timestamp, event_id). A null counts as the smallest value.';

CREATE OR REPLACE FUNCTION pattern_quality_band(score double precision) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN score >= 0.9 THEN 'excellent'
    WHEN score >= 0.7 THEN 'good'
    WHEN score >= 0.5 THEN 'fair'
    ELSE 'poor'
END;

COMMENT ON FUNCTION pattern_quality_band(double precision) IS
    'Returns the band of a score from 0 to 1: excellent, good, fair or poor.';

-- A view calls functions with the rights of the reader. Roles that could read the view can still read it,
-- even if the default right of PUBLIC was revoked (ALTER DEFAULT PRIVILEGES).
GRANT EXECUTE ON FUNCTION
    pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid), pattern_quality_band(double precision)
    TO PUBLIC;

CALL pattern_metrics_patiently($view$
CREATE OR REPLACE VIEW pattern_quality_current AS
SELECT
    pattern_id,
    metadata ->> 'name' AS name,
    quality_score,
    pattern_quality_band(quality_score) AS band,
    confidence,
    measurement_timestamp,
    version,
    jsonb_path_query_first(metadata, '$.dimensions.completeness ? (@ >= 0 && @ <= 1)')::double precision
        AS completeness,
    jsonb_path_query_first(metadata, '$.dimensions.documentation ? (@ >= 0 && @ <= 1)')::double precision
        AS documentation,
    jsonb_path_query_first(metadata, '$.dimensions.compliance ? (@ >= 0 && @ <= 1)')::double precision
        AS compliance,
    jsonb_path_query_first(metadata, '$.dimensions.metadata_richness ? (@ >= 0 && @ <= 1)')::double precision
        AS metadata_richness,
    jsonb_path_query_first(metadata, '$.dimensions.complexity ? (@ >= 0 && @ <= 1)')::double precision
        AS complexity,
    metadata,
    event_id,
    updated_at
FROM pattern_quality_metrics
$view$);

DROP PROCEDURE pattern_metrics_patiently(text);
