-- Which of a batch's patterns have a row, and whether the batch's event supersedes it: the law, as in
-- `upsert_patterns`, which decides again on the row as it is by then.
SELECT given.place,
       ((given.measurement_timestamp, given.event_id) > (present.measurement_timestamp, present.event_id))
           IS NOT FALSE
FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) WITH ORDINALITY
    AS given (pattern_id, measurement_timestamp, event_id, place)
JOIN pattern_quality_metrics AS present USING (pattern_id)
