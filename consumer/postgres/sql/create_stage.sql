-- The measurements of one batch on their way into the table, or its retirements, which have no score and may have a
-- reason. Private to the connection, and empty after each transaction.
CREATE TEMPORARY TABLE IF NOT EXISTS pattern_metrics_stage (
    place integer NOT NULL,
    pattern_id uuid NOT NULL,
    event_id uuid NOT NULL,
    quality_score double precision,
    confidence double precision,
    measurement_timestamp timestamptz NOT NULL,
    version text,
    metadata jsonb NOT NULL,
    reason text
) ON COMMIT DELETE ROWS
