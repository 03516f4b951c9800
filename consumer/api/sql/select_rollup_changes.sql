-- The mean change of the scores since a time ($4), by the next part of the name after a prefix ($3), among the patterns that
-- the history knew by then; from a percentage of the blocks. The parts are those of select_rollup.
SELECT part, avg(change) AS change, grouping(part) = 1 AS is_total
FROM (
    SELECT
        change, $3::text || left(rest, length(split_part(translate(rest, ':/', '..'), '.', 1)) + 1) AS part
    FROM (
        SELECT
            change,
            CASE WHEN length(name) <= $5::integer AND (btrim(left(name, 1)) <> '' OR name ~ '\S')
                THEN substr(name, length($3) + 1)
            END AS rest
        FROM (
            SELECT
                present.quality_score - earlier.quality_score AS change,
                CASE WHEN jsonb_typeof(metadata -> 'name') = 'string' THEN metadata ->> 'name' END AS name
            FROM pattern_quality_metrics AS present
                TABLESAMPLE SYSTEM ($1::double precision) REPEATABLE ($2::double precision)
            CROSS JOIN LATERAL (
                SELECT quality_score
                FROM pattern_quality_history AS past
                WHERE past.pattern_id = present.pattern_id AND past.measurement_timestamp <= $4::timestamptz
                ORDER BY past.measurement_timestamp DESC
                LIMIT 1
            ) AS earlier
            WHERE $3 = '' OR starts_with(metadata ->> 'name', $3)
            OFFSET 0
        ) AS named
        OFFSET 0
    ) AS rests
) AS parted
WHERE change IS NOT NULL
GROUP BY GROUPING SETS ((part), ())
