-- The whole schema as of 023, for reading. grant_rights.sql has the roles and their rights. This file is never
-- applied; a test compares it with the result of the revisions.

CREATE TABLE pattern_quality_metrics (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    pattern_id uuid NOT NULL,
    quality_score double precision NOT NULL
        CONSTRAINT pattern_quality_metrics_quality_score_check CHECK (quality_score >= 0 AND quality_score <= 1),
    confidence double precision NOT NULL
        CONSTRAINT pattern_quality_metrics_confidence_check CHECK (confidence >= 0 AND confidence <= 1),
    measurement_timestamp timestamptz NOT NULL DEFAULT now(),
    version text DEFAULT '1.0.0',
    metadata jsonb DEFAULT '{}',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    event_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    CONSTRAINT pattern_quality_metrics_pattern_id_unique UNIQUE (pattern_id)
) WITH (fillfactor = 50);

COMMENT ON TABLE pattern_quality_metrics IS
    'The latest measurement of each pattern; from revision 014 on there is one row per pattern.';
COMMENT ON COLUMN pattern_quality_metrics.event_id IS
    'The event that the row holds. Of two events of a pattern, the one with the greater (measurement_timestamp, event_id) wins.';

CREATE TABLE ingest_progress (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL CONSTRAINT ingest_progress_next_offset_check CHECK (next_offset >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    topic_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    leader_epoch integer,
    PRIMARY KEY (consumer_group, topic, topic_id, partition)
);

COMMENT ON TABLE ingest_progress IS
    'The progress of each consumer group in each partition. It is written in the same transaction as the rows.';
COMMENT ON COLUMN ingest_progress.consumer_group IS 'The Kafka consumer group.';
COMMENT ON COLUMN ingest_progress.topic IS 'The topic that is read.';
COMMENT ON COLUMN ingest_progress.partition IS 'The partition of the topic.';
COMMENT ON COLUMN ingest_progress.next_offset IS 'The first offset that is not yet accounted for.';
COMMENT ON COLUMN ingest_progress.updated_at IS 'The time at which the row was last written.';
COMMENT ON COLUMN ingest_progress.topic_id IS
    'The ID that Kafka gave the topic (KIP-516), zeros where the broker gives none. A topic that is recreated, and a topic of another cluster, has another ID.';
COMMENT ON COLUMN ingest_progress.leader_epoch IS
    'The leader epoch of the last record below next_offset (KIP-320), null where it is not known.';

CREATE TABLE ingest_gaps (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),
    topic_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    reason text NOT NULL DEFAULT 'retention',
    PRIMARY KEY (consumer_group, topic, topic_id, partition, first_offset),
    CONSTRAINT ingest_gaps_last_offset_check CHECK (last_offset >= first_offset)
);

COMMENT ON TABLE ingest_gaps IS 'Offsets of the topic that were not read, or whose records the topic has lost.';
COMMENT ON COLUMN ingest_gaps.consumer_group IS 'The Kafka consumer group.';
COMMENT ON COLUMN ingest_gaps.topic IS 'The topic that is read.';
COMMENT ON COLUMN ingest_gaps.partition IS 'The partition of the topic.';
COMMENT ON COLUMN ingest_gaps.first_offset IS 'The first offset that was not read.';
COMMENT ON COLUMN ingest_gaps.last_offset IS 'The last offset that was not read.';
COMMENT ON COLUMN ingest_gaps.noticed_at IS 'The time at which the worker noticed the gap.';
COMMENT ON COLUMN ingest_gaps.topic_id IS 'The ID of the topic, as in ingest_progress; zeros where it is not known.';
COMMENT ON COLUMN ingest_gaps.reason IS
    'retention: removed before it was read; truncation: the log was cut back there; skipped: a person decided to, and why.';

CREATE TABLE dead_letters (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    record_timestamp bigint NOT NULL,
    key bytea,
    value bytea,
    headers jsonb NOT NULL DEFAULT '[]',
    reason text NOT NULL CONSTRAINT dead_letters_reason_check CHECK (length(reason) > 0),
    detail text NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),
    status text NOT NULL DEFAULT 'open'
        CONSTRAINT dead_letters_status_check CHECK (status IN ('open', 'redriven', 'discarded')),
    resolved_at timestamptz
        CONSTRAINT dead_letters_resolved_at_check CHECK ((status = 'open') = (resolved_at IS NULL)),
    resolution text,
    PRIMARY KEY (topic, partition, "offset", record_timestamp)
);

COMMENT ON TABLE dead_letters IS 'Records that could not be decoded or stored, with their exact bytes.';
COMMENT ON COLUMN dead_letters.topic IS 'The topic that held the record.';
COMMENT ON COLUMN dead_letters.partition IS 'The partition of the topic.';
COMMENT ON COLUMN dead_letters."offset" IS 'The offset of the record in its partition.';
COMMENT ON COLUMN dead_letters.record_timestamp IS
    'The timestamp of the record in milliseconds since the epoch as Kafka has it, -1 where it has none.';
COMMENT ON COLUMN dead_letters.key IS 'The bytes of the key; null if the record had no key.';
COMMENT ON COLUMN dead_letters.value IS 'The bytes of the value; null if the record had no value.';
COMMENT ON COLUMN dead_letters.headers IS 'The headers of the record, in their order.';
COMMENT ON COLUMN dead_letters.reason IS 'The reason for which the record was refused, one of a closed set of words.';
COMMENT ON COLUMN dead_letters.detail IS 'The exact fault, for a person.';
COMMENT ON COLUMN dead_letters.noticed_at IS 'The time at which the worker refused the record.';
COMMENT ON COLUMN dead_letters.status IS
    'open, redriven (it was stored, or found superseded, later) or discarded (a person decided against it).';
COMMENT ON COLUMN dead_letters.resolved_at IS 'The time at which the letter was redriven or discarded; null while it is open.';
COMMENT ON COLUMN dead_letters.resolution IS 'The reason for which a person discarded the letter; null otherwise.';

CREATE TABLE pattern_quality_history (
    pattern_id uuid NOT NULL,
    measurement_timestamp timestamptz NOT NULL,
    event_id uuid NOT NULL,
    quality_score double precision
        CONSTRAINT pattern_quality_history_quality_score_check CHECK (quality_score >= 0 AND quality_score <= 1),
    confidence double precision
        CONSTRAINT pattern_quality_history_confidence_check CHECK (confidence >= 0 AND confidence <= 1),
    version text,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    reason text,
    CONSTRAINT pattern_quality_history_measurement_unique UNIQUE (pattern_id, measurement_timestamp)
);

ALTER TABLE pattern_quality_history REPLICA IDENTITY USING INDEX pattern_quality_history_measurement_unique;

CREATE VIEW pattern_quality_changes AS
SELECT
    pattern_id,
    measurement_timestamp,
    quality_score,
    quality_score - lag(quality_score) OVER previous AS quality_change,
    lag(quality_score) OVER previous AS previous_quality_score,
    lag(measurement_timestamp) OVER previous AS previous_measurement_timestamp,
    confidence,
    version,
    metadata,
    event_id,
    quality_score IS NULL AS is_retirement,
    reason
FROM pattern_quality_history
WINDOW previous AS (PARTITION BY pattern_id ORDER BY measurement_timestamp);

COMMENT ON TABLE pattern_quality_history IS
    'Every measurement and retirement that was read while HISTORY_ENABLED was true. A retirement has no score.';
COMMENT ON COLUMN pattern_quality_history.pattern_id IS 'The pattern that was measured.';
COMMENT ON COLUMN pattern_quality_history.measurement_timestamp IS 'The time of the measurement.';
COMMENT ON COLUMN pattern_quality_history.event_id IS
    'The event that the row holds. Of two events of a pattern with the same time, it is the one with the greater id.';
COMMENT ON COLUMN pattern_quality_history.quality_score IS 'The score, 0 to 1.';
COMMENT ON COLUMN pattern_quality_history.confidence IS 'The confidence of the scorer in the score, 0 to 1.';
COMMENT ON COLUMN pattern_quality_history.version IS 'The version of the scorer.';
COMMENT ON COLUMN pattern_quality_history.metadata IS 'The metadata of the event: dimensions, a name, anything.';
COMMENT ON COLUMN pattern_quality_history.created_at IS 'The time at which the row was first written.';
COMMENT ON COLUMN pattern_quality_history.reason IS 'Why the pattern was retired; null for a measurement.';

COMMENT ON VIEW pattern_quality_changes IS
    'Each event of the history, with the change since the previous measurement; null for the first measurement of a pattern, for a retirement, and after it.';

CREATE TABLE pattern_quality_retired (
    pattern_id uuid CONSTRAINT pattern_quality_retired_pkey PRIMARY KEY,
    event_id uuid NOT NULL,
    retired_at timestamptz NOT NULL,
    reason text,
    retirement_metadata jsonb NOT NULL DEFAULT '{}',
    last_event_id uuid,
    quality_score double precision,
    confidence double precision,
    measurement_timestamp timestamptz,
    version text,
    metadata jsonb,
    updated_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE pattern_quality_retired IS
    'The patterns whose greatest event is a retirement. They have no row in pattern_quality_metrics. A newer measurement moves a pattern back.';
COMMENT ON COLUMN pattern_quality_retired.pattern_id IS 'The pattern that is retired.';
COMMENT ON COLUMN pattern_quality_retired.event_id IS 'The event that retired the pattern.';
COMMENT ON COLUMN pattern_quality_retired.retired_at IS 'The time of the retirement.';
COMMENT ON COLUMN pattern_quality_retired.reason IS 'Why the pattern was retired.';
COMMENT ON COLUMN pattern_quality_retired.retirement_metadata IS 'The metadata of the retirement.';
COMMENT ON COLUMN pattern_quality_retired.last_event_id IS
    'The greatest measurement before the retirement, however late it was read; null, as all its columns, where there is none.';
COMMENT ON COLUMN pattern_quality_retired.quality_score IS 'The score of the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.confidence IS 'The confidence of the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.measurement_timestamp IS 'The time of the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.version IS 'The version of the scorer in the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.metadata IS 'The metadata of the last measurement.';
COMMENT ON COLUMN pattern_quality_retired.updated_at IS 'The time at which a retirement was last written.';

CREATE FUNCTION pattern_metrics_supersedes(
    new_time timestamptz, new_event uuid, old_time timestamptz, old_event uuid
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (coalesce(new_time, '-infinity'), coalesce(new_event, '00000000-0000-0000-0000-000000000000'))
    > (coalesce(old_time, '-infinity'), coalesce(old_event, '00000000-0000-0000-0000-000000000000'));

COMMENT ON FUNCTION pattern_metrics_supersedes(timestamptz, uuid, timestamptz, uuid) IS
    'Returns true if the new event of a pattern supersedes the old event: if it has the greater (measurement_timestamp, event_id). A null counts as the smallest value.';

CREATE FUNCTION pattern_quality_band(score double precision) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN score >= 0.9 THEN 'excellent'
    WHEN score >= 0.7 THEN 'good'
    WHEN score >= 0.5 THEN 'fair'
    ELSE 'poor'
END;

COMMENT ON FUNCTION pattern_quality_band(double precision) IS
    'Returns the band of a score from 0 to 1: excellent, good, fair or poor.';

CREATE VIEW pattern_quality_current AS
SELECT
    pattern_id,
    metadata ->> 'name' AS name,
    quality_score,
    pattern_quality_band(quality_score) AS band,
    confidence,
    measurement_timestamp,
    version,
    jsonb_path_query_first(metadata, '$.dimensions.completeness ? (@ >= 0 && @ <= 1)')::double precision
        AS completeness,
    jsonb_path_query_first(metadata, '$.dimensions.documentation ? (@ >= 0 && @ <= 1)')::double precision
        AS documentation,
    jsonb_path_query_first(metadata, '$.dimensions.compliance ? (@ >= 0 && @ <= 1)')::double precision
        AS compliance,
    jsonb_path_query_first(metadata, '$.dimensions.metadata_richness ? (@ >= 0 && @ <= 1)')::double precision
        AS metadata_richness,
    jsonb_path_query_first(metadata, '$.dimensions.complexity ? (@ >= 0 && @ <= 1)')::double precision
        AS complexity,
    metadata,
    event_id,
    updated_at
FROM pattern_quality_metrics;

COMMENT ON VIEW pattern_quality_current IS
    'The current row of each pattern, with its band and the five dimensions of its score as columns.';
