-- The number of blocks of the history; for a partitioned table, of its largest partition.
SELECT coalesce(max(pg_relation_size(relation)), 0) / current_setting('block_size')::bigint
FROM (
    SELECT 'pattern_quality_history'::regclass::oid AS relation
    UNION ALL
    SELECT inhrelid FROM pg_inherits WHERE inhparent = 'pattern_quality_history'::regclass
) AS relations
