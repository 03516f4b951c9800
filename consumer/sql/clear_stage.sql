-- Make room for the next part of a batch that is being bisected.
TRUNCATE pattern_metrics_stage
