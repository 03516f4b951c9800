-- Down from 020: drops the functions. The view holds the bands itself again, as in 018.

CREATE OR REPLACE VIEW pattern_quality_current AS
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

DROP FUNCTION IF EXISTS pattern_quality_band(double precision);
DROP FUNCTION IF EXISTS pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid);
