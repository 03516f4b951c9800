-- Fail, before anything is written, where the law of the table is missing: not every batch needs it.
SELECT 'pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid)'::regprocedure
