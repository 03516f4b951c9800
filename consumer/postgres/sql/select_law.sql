-- Fail before anything is written if the law of the table is missing, because not every batch needs it.
SELECT 'pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid)'::regprocedure
