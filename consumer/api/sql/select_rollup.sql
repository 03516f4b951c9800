-- The patterns whose names begin with a prefix ($3), by the next part of the name; from a percentage of the blocks. A part
-- ends with the next of the characters . : / and is the rest of the name if there is none. Patterns without a name, or with a
-- blank one or one of more than $5 characters, have no part. The parts with the most patterns come first, and of these the
-- part with the worst pattern. OFFSET 0 keeps the planner from computing names and parts several times.
SELECT
    part, sum(patterns)::bigint AS patterns, sum(quality_sum) AS quality_sum, min(worst) AS worst,
    json_object_agg(band, patterns)::text AS bands, min(pattern_id) AS pattern_id,
    count(*) OVER () AS parts, (sum(sum(patterns)) OVER ())::bigint AS all_patterns,
    sum(sum(quality_sum)) OVER () AS all_quality_sum, min(min(worst)) OVER () AS all_worst
FROM (
    SELECT
        part, pattern_quality_band(quality_score) AS band, count(*) AS patterns, sum(quality_score) AS quality_sum,
        min(quality_score) AS worst, min(pattern_id::text) FILTER (WHERE is_name) AS pattern_id
    FROM (
        SELECT
            pattern_id, quality_score, length(rest) = length(word) AS is_name,
            $3::text || left(rest, length(word) + 1) COLLATE "C" AS part
        FROM (
            SELECT
                pattern_id, quality_score, rest, split_part(translate(rest, ':/', '..'), '.', 1) AS word
            FROM (
                SELECT
                    pattern_id, quality_score,
                    CASE WHEN length(name) <= $5::integer AND (btrim(left(name, 1)) <> '' OR name ~ '\S')
                        THEN substr(name, length($3) + 1)
                    END AS rest
                FROM (
                    SELECT
                        pattern_id, quality_score,
                        CASE WHEN jsonb_typeof(metadata -> 'name') = 'string' THEN metadata ->> 'name' END AS name
                    FROM pattern_quality_metrics
                        TABLESAMPLE SYSTEM ($1::double precision) REPEATABLE ($2::double precision)
                    WHERE $3 = '' OR starts_with(metadata ->> 'name', $3)
                    OFFSET 0
                ) AS named
                OFFSET 0
            ) AS rests
            OFFSET 0
        ) AS words
        OFFSET 0
    ) AS parted
    GROUP BY part, band
) AS banded
GROUP BY part
ORDER BY patterns DESC, worst, part
LIMIT $4
