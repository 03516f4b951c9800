-- Down from 014: a pattern may have several rows again. The rows that were moved stay in
-- pattern_quality_metrics_duplicates: nothing is lost, and nothing superseded comes back.

ALTER TABLE pattern_quality_metrics DROP CONSTRAINT IF EXISTS pattern_quality_metrics_pattern_id_unique;
