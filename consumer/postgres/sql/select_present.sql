-- Which of a batch's patterns have a row, and what an event must supersede there. A time that the driver cannot
-- hold is returned as the nearest that it can hold: no event lies between the two. A null is returned as the smallest
-- value, which it counts as.
SELECT pattern_id,
       least(greatest(measurement_timestamp, '0001-01-01 00:00:00+00'), '9999-12-31 23:59:59.999999+00'),
       coalesce(event_id, '00000000-0000-0000-0000-000000000000')
FROM pattern_quality_metrics
WHERE pattern_id = ANY($1::uuid[])
