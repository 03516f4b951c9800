-- How many blocks the table has; of a partitioned one, all its partitions.
SELECT coalesce(sum(pg_relation_size(relid)), 0)::bigint / current_setting('block_size')::bigint
FROM pg_partition_tree('pattern_quality_metrics')
WHERE isleaf
