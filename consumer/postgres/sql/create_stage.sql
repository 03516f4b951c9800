-- The rows of one batch on their way into the table. Private to the connection, and empty after each
-- transaction.
CREATE TEMPORARY TABLE IF NOT EXISTS pattern_metrics_stage (
    place integer NOT NULL,
    pattern_id uuid NOT NULL,
    event_id uuid NOT NULL,
    quality_score double precision NOT NULL,
    confidence double precision NOT NULL,
    measurement_timestamp timestamptz NOT NULL,
    version text NOT NULL,
    metadata jsonb NOT NULL
) ON COMMIT DELETE ROWS
