-- Which of a batch's patterns have a row, and what an event must supersede there. A time that the driver cannot
-- hold is told as the nearest that it can, between which and the time no event lies; null, as the earliest.
SELECT pattern_id,
       least(greatest(measurement_timestamp, '0001-01-01 00:00:00+00'), '9999-12-31 23:59:59.999999+00'),
       event_id
FROM pattern_quality_metrics
WHERE pattern_id = ANY($1::uuid[])
