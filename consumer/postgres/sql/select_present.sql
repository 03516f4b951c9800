-- The rows of a batch's patterns, with the values that an event must supersede. A time that the driver cannot hold is
-- returned as the nearest one that it can hold: no event is between the two. A null is returned as the smallest value,
-- which it counts as.
SELECT pattern_id,
       least(greatest(measurement_timestamp, '0001-01-01 00:00:00+00'), '9999-12-31 23:59:59.999999+00'),
       coalesce(event_id, '00000000-0000-0000-0000-000000000000')
FROM pattern_quality_metrics
WHERE pattern_id = ANY($1::uuid[])
