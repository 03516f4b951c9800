-- The number of blocks of a table, and the planner's estimate of its rows (null if nobody has counted yet); for a
-- partitioned table, of its partitions.
SELECT
    sum(blocks)::bigint AS blocks,
    CASE WHEN bool_and(reltuples >= 0 OR blocks = 0)
        THEN sum(blocks * reltuples / greatest(relpages, 1))::double precision
    END AS rows
FROM (
    SELECT reltuples, relpages, pg_relation_size(oid) / current_setting('block_size')::bigint AS blocks
    FROM pg_class
    WHERE oid = to_regclass($1)
       OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1))
) AS relations
