-- How much each week added to the sum of the scores and to the number of patterns, by the history; the first week ($3) has
-- everything before it as well. Up to a time ($4). From a percentage of the blocks of both tables of patterns.
SELECT week::date::text AS week, sum(quality) AS quality, sum(patterns) AS patterns
FROM (
    SELECT pattern_id FROM pattern_quality_metrics
        TABLESAMPLE SYSTEM ($1::double precision) REPEATABLE ($2::double precision)
    UNION ALL
    SELECT pattern_id FROM pattern_quality_retired
        TABLESAMPLE SYSTEM ($1::double precision) REPEATABLE ($2::double precision)
) AS known
CROSS JOIN LATERAL (
    SELECT
        greatest(date_trunc('week', measurement_timestamp), $3::timestamptz) AS week,
        coalesce(quality_score, 0) - coalesce(lag(quality_score) OVER earlier, 0) AS quality,
        (quality_score IS NOT NULL)::integer - (lag(quality_score) OVER earlier IS NOT NULL)::integer AS patterns
    FROM pattern_quality_history AS past
    WHERE past.pattern_id = known.pattern_id AND measurement_timestamp < $4::timestamptz
    WINDOW earlier AS (ORDER BY measurement_timestamp)
) AS added
GROUP BY week
ORDER BY week
