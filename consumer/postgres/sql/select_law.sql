-- Fail before anything is written if the law of the table, or the table of the retired patterns, is missing: not every
-- batch needs them.
SELECT 'pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid)'::regprocedure, 'pattern_quality_retired'::regclass
