-- The number of rows with a time after the latest acceptable time, the number before the year 1, and some patterns of
-- the first kind.
SELECT
    count(*) FILTER (WHERE measurement_timestamp > $1) AS in_future,
    count(*) FILTER (WHERE measurement_timestamp < '0001-01-01Z') AS before_year_1,
    array(
        SELECT pattern_id || ' ' || measurement_timestamp FROM pattern_quality_metrics
        WHERE measurement_timestamp > $1 ORDER BY pattern_id LIMIT 5
    ) AS examples_in_future
FROM pattern_quality_metrics
