-- 018: a view for clients that only read. ../grant_rights.sql grants the roles and rights that came with it.
-- Apply by hand, after 017: psql -v ON_ERROR_STOP=1 -f 018_add_reader_view_and_roles.sql
-- Safe to repeat: it changes nothing if its work is done.

-- The view shows the bands and the dimensions of our scorer. A dimension that is not a number from 0 to 1 is
-- null, because metadata written by others must not break the view.
DO $create$
BEGIN
    IF to_regclass('pattern_quality_current') IS NULL THEN -- a later revision changes it
        CREATE VIEW pattern_quality_current AS
        SELECT
            pattern_id,
            metadata ->> 'name' AS name,
            quality_score,
            CASE
                WHEN quality_score >= 0.9 THEN 'excellent'
                WHEN quality_score >= 0.7 THEN 'good'
                WHEN quality_score >= 0.5 THEN 'fair'
                ELSE 'poor'
            END AS band,
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
        FROM pattern_quality_metrics;
    END IF;
END
$create$;

COMMENT ON VIEW pattern_quality_current IS
    'The current row of each pattern, with its band and the five dimensions of its score as columns.';
