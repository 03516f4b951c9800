-- Down from 014: a pattern may have several rows again. The rows that were moved stay in
-- pattern_quality_metrics_duplicates: nothing is lost, and nothing superseded comes back.

ALTER TABLE pattern_quality_metrics DROP CONSTRAINT IF EXISTS pattern_quality_metrics_pattern_id_unique;

-- Remove what an interrupted 014 left.
DO $$
BEGIN
    SET LOCAL client_min_messages = 'warning'; -- most often there is nothing
    DROP TRIGGER IF EXISTS pattern_metrics_refuse_second_row ON pattern_quality_metrics;
    DROP FUNCTION IF EXISTS pattern_metrics_refuse_second_row();
    DROP INDEX IF EXISTS pattern_quality_metrics_pattern_id_portions, pattern_quality_metrics_pattern_id_unique;
    DROP PROCEDURE IF EXISTS pattern_metrics_probe(text, text), pattern_metrics_patiently(text);
END
$$;
