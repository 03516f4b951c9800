-- The rows of a batch's patterns, with the values that an event must supersede. A time that the driver cannot hold is
-- returned as the nearest time that the driver can hold: no event lies between the two. A null is returned as the
-- smallest value, because a null counts as the smallest value. If any of the patterns is retired, one row of nulls says
-- so. While no pattern is retired, that costs a look at an empty table.
SELECT pattern_id,
       least(greatest(measurement_timestamp, '0001-01-01 00:00:00+00'), '9999-12-31 23:59:59.999999+00'),
       coalesce(event_id, '00000000-0000-0000-0000-000000000000')
FROM pattern_quality_metrics
WHERE pattern_id = ANY($1::uuid[])
UNION ALL
(SELECT NULL, NULL, NULL
 FROM pattern_quality_retired
 WHERE EXISTS (SELECT FROM pattern_quality_retired) AND pattern_id = ANY($1::uuid[])
 LIMIT 1)
