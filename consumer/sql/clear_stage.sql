-- Make room for more rows in the same transaction.
TRUNCATE pattern_metrics_stage
