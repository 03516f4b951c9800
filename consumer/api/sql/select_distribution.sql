-- The number of patterns by band and fortieth of the scale, and by version (whose rows come last, the most frequent
-- first); in a percentage of the blocks.
SELECT bucket, band, version, count(*) AS patterns, sum(quality_score) AS quality_sum
FROM (
    SELECT
        least(39, floor(quality_score * 40))::integer AS bucket,
        pattern_quality_band(quality_score) AS band,
        coalesce(version, '') AS version,
        quality_score
    FROM pattern_quality_metrics TABLESAMPLE SYSTEM ($1::double precision) REPEATABLE ($2::double precision)
) AS sampled
GROUP BY GROUPING SETS ((bucket, band), (version))
ORDER BY grouping(version) DESC, patterns DESC
LIMIT 100
