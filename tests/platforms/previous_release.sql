SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.dead_letters (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    record_timestamp bigint NOT NULL,
    key bytea,
    value bytea,
    headers jsonb DEFAULT '[]'::jsonb NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    noticed_at timestamp with time zone DEFAULT now() NOT NULL,
    status text DEFAULT 'open'::text NOT NULL,
    resolved_at timestamp with time zone,
    resolution text,
    CONSTRAINT dead_letters_reason_check CHECK ((length(reason) > 0)),
    CONSTRAINT dead_letters_resolved_at_check CHECK (((status = 'open'::text) = (resolved_at IS NULL))),
    CONSTRAINT dead_letters_status_check CHECK ((status = ANY (ARRAY['open'::text, 'redriven'::text, 'discarded'::text])))
);
COMMENT ON TABLE public.dead_letters IS 'Records that could not be decoded or stored, as they came.';
COMMENT ON COLUMN public.dead_letters.topic IS 'The topic that held the record.';
COMMENT ON COLUMN public.dead_letters.partition IS 'The partition of the topic.';
COMMENT ON COLUMN public.dead_letters."offset" IS 'The offset of the record in its partition.';
COMMENT ON COLUMN public.dead_letters.record_timestamp IS 'The timestamp of the record in milliseconds since the epoch as Kafka has it, -1 where it has none.';
COMMENT ON COLUMN public.dead_letters.key IS 'The bytes of the key, null where the record had none.';
COMMENT ON COLUMN public.dead_letters.value IS 'The bytes of the value, null where the record had none.';
COMMENT ON COLUMN public.dead_letters.headers IS 'The headers of the record in their order.';
COMMENT ON COLUMN public.dead_letters.reason IS 'Why it was refused, one of a closed set of words.';
COMMENT ON COLUMN public.dead_letters.detail IS 'What exactly was wrong, for a person.';
COMMENT ON COLUMN public.dead_letters.noticed_at IS 'When the worker refused it.';
COMMENT ON COLUMN public.dead_letters.status IS 'open; redriven: it was stored, or found superseded, later; discarded: a person decided against it.';
COMMENT ON COLUMN public.dead_letters.resolved_at IS 'When it was redriven or discarded, null while it is open.';
COMMENT ON COLUMN public.dead_letters.resolution IS 'Why it was discarded; null otherwise.';
CREATE TABLE public.ingest_gaps (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    noticed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ingest_gaps_last_offset_check CHECK ((last_offset >= first_offset))
);
COMMENT ON TABLE public.ingest_gaps IS 'Offsets that retention removed from the topic before they were read.';
COMMENT ON COLUMN public.ingest_gaps.consumer_group IS 'The Kafka consumer group.';
COMMENT ON COLUMN public.ingest_gaps.topic IS 'The topic that is read.';
COMMENT ON COLUMN public.ingest_gaps.partition IS 'The partition of the topic.';
COMMENT ON COLUMN public.ingest_gaps.first_offset IS 'The first offset that was not read.';
COMMENT ON COLUMN public.ingest_gaps.last_offset IS 'The last offset that was not read.';
COMMENT ON COLUMN public.ingest_gaps.noticed_at IS 'When the worker noticed.';
CREATE TABLE public.ingest_progress (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    topic_id uuid,
    CONSTRAINT ingest_progress_next_offset_check CHECK ((next_offset >= 0))
);
COMMENT ON TABLE public.ingest_progress IS 'How far each consumer group has written each partition, in the same transaction as the rows.';
COMMENT ON COLUMN public.ingest_progress.consumer_group IS 'The Kafka consumer group.';
COMMENT ON COLUMN public.ingest_progress.topic IS 'The topic that is read.';
COMMENT ON COLUMN public.ingest_progress.partition IS 'The partition of the topic.';
COMMENT ON COLUMN public.ingest_progress.next_offset IS 'The first offset that is not yet accounted for.';
COMMENT ON COLUMN public.ingest_progress.updated_at IS 'When the row was last written.';
COMMENT ON COLUMN public.ingest_progress.topic_id IS 'The ID that Kafka gave the topic (KIP-516), null where it is not known: a recreated topic has another one.';
CREATE TABLE public.pattern_quality_history (
    pattern_id uuid NOT NULL,
    measurement_timestamp timestamp with time zone NOT NULL,
    event_id uuid NOT NULL,
    quality_score double precision NOT NULL,
    confidence double precision NOT NULL,
    version text NOT NULL,
    metadata jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT pattern_quality_history_confidence_check CHECK (((confidence >= (0)::double precision) AND (confidence <= (1)::double precision))),
    CONSTRAINT pattern_quality_history_quality_score_check CHECK (((quality_score >= (0)::double precision) AND (quality_score <= (1)::double precision)))
);
COMMENT ON TABLE public.pattern_quality_history IS 'Every measurement that was read while HISTORY_ENABLED was true; pattern_quality_metrics holds the latest ones.';
COMMENT ON COLUMN public.pattern_quality_history.pattern_id IS 'The pattern that was measured.';
COMMENT ON COLUMN public.pattern_quality_history.measurement_timestamp IS 'When it was measured.';
COMMENT ON COLUMN public.pattern_quality_history.event_id IS 'The event this row holds; of two events of a pattern with the same time the one with the greater id.';
COMMENT ON COLUMN public.pattern_quality_history.quality_score IS 'The score, 0 to 1.';
COMMENT ON COLUMN public.pattern_quality_history.confidence IS 'How sure the scorer was, 0 to 1.';
COMMENT ON COLUMN public.pattern_quality_history.version IS 'The version of the scorer.';
COMMENT ON COLUMN public.pattern_quality_history.metadata IS 'What the scorer wrote besides: dimensions, a name, anything.';
COMMENT ON COLUMN public.pattern_quality_history.created_at IS 'When the row was first written.';
CREATE VIEW public.pattern_quality_changes AS
 SELECT pattern_id,
    measurement_timestamp,
    quality_score,
    (quality_score - lag(quality_score) OVER previous) AS quality_change,
    lag(quality_score) OVER previous AS previous_quality_score,
    lag(measurement_timestamp) OVER previous AS previous_measurement_timestamp,
    confidence,
    version,
    metadata,
    event_id
   FROM public.pattern_quality_history
  WINDOW previous AS (PARTITION BY pattern_id ORDER BY measurement_timestamp);
COMMENT ON VIEW public.pattern_quality_changes IS 'Each measurement of the history, with its change since the one before; null for the first of a pattern.';
CREATE TABLE public.pattern_quality_metrics (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    pattern_id uuid NOT NULL,
    quality_score double precision NOT NULL,
    confidence double precision NOT NULL,
    measurement_timestamp timestamp with time zone DEFAULT now() NOT NULL,
    version text DEFAULT '1.0.0'::text,
    metadata jsonb DEFAULT '{}'::jsonb,
    created_at timestamp with time zone DEFAULT now(),
    updated_at timestamp with time zone DEFAULT now(),
    event_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
    CONSTRAINT pattern_quality_metrics_confidence_check CHECK (((confidence >= (0)::double precision) AND (confidence <= (1)::double precision))),
    CONSTRAINT pattern_quality_metrics_quality_score_check CHECK (((quality_score >= (0)::double precision) AND (quality_score <= (1)::double precision)))
)
WITH (fillfactor='50');
COMMENT ON TABLE public.pattern_quality_metrics IS 'The latest measurement of each pattern; from revision 014 on there is one row per pattern.';
COMMENT ON COLUMN public.pattern_quality_metrics.event_id IS 'The event this row holds; of two events of a pattern the one with the greater (measurement_timestamp, event_id) wins.';
CREATE VIEW public.pattern_quality_current AS
 SELECT pattern_id,
    (metadata ->> 'name'::text) AS name,
    quality_score,
        CASE
            WHEN (quality_score >= (0.9)::double precision) THEN 'excellent'::text
            WHEN (quality_score >= (0.7)::double precision) THEN 'good'::text
            WHEN (quality_score >= (0.5)::double precision) THEN 'fair'::text
            ELSE 'poor'::text
        END AS band,
    confidence,
    measurement_timestamp,
    version,
    (jsonb_path_query_first(metadata, '$."dimensions"."completeness"?(@ >= 0 && @ <= 1)'::jsonpath))::double precision AS completeness,
    (jsonb_path_query_first(metadata, '$."dimensions"."documentation"?(@ >= 0 && @ <= 1)'::jsonpath))::double precision AS documentation,
    (jsonb_path_query_first(metadata, '$."dimensions"."compliance"?(@ >= 0 && @ <= 1)'::jsonpath))::double precision AS compliance,
    (jsonb_path_query_first(metadata, '$."dimensions"."metadata_richness"?(@ >= 0 && @ <= 1)'::jsonpath))::double precision AS metadata_richness,
    (jsonb_path_query_first(metadata, '$."dimensions"."complexity"?(@ >= 0 && @ <= 1)'::jsonpath))::double precision AS complexity,
    metadata,
    event_id,
    updated_at
   FROM public.pattern_quality_metrics;
COMMENT ON VIEW public.pattern_quality_current IS 'The current row of each pattern, with its band and the five dimensions of its score as columns.';
INSERT INTO public.alembic_version VALUES ('019');
INSERT INTO public.dead_letters VALUES ('pattern-scored.v1', 0, 6, 1796108698807, NULL, '\x706f69736f6e', '[{"key": "ce-type", "value": "org.example"}]', 'invalid_json', 'Invalid JSON: expected value at line 1 column 1', '2026-12-01 07:05:06.233389+00', 'open', NULL, NULL);
INSERT INTO public.ingest_progress VALUES ('pattern-metrics', 'pattern-scored.v1', 0, 7, '2026-12-01 07:05:06.233389+00', '01a2306b-bf3e-7ed2-b68c-a39a9b46a0d7');
INSERT INTO public.pattern_quality_history VALUES ('3f0f6f0a-7a55-5b0e-8a3c-000000000000', '2026-01-01 00:00:00+00', '0192f000-0000-7000-8000-000000000000', 0, 0.9, '1.0.0', '{"name": "shop:item_0"}', '2026-12-01 07:05:06.233389+00');
INSERT INTO public.pattern_quality_history VALUES ('3f0f6f0a-7a55-5b0e-8a3c-000000000000', '2026-01-01 00:00:04+00', '0192f000-0000-7000-8000-000000000004', 0.5, 0.9, '1.0.0', '{"name": "shop:item_0"}', '2026-12-01 07:05:06.233389+00');
INSERT INTO public.pattern_quality_history VALUES ('3f0f6f0a-7a55-5b0e-8a3c-000000000001', '2026-01-01 00:00:01+00', '0192f000-0000-7000-8000-000000000001', 0.125, 0.9, '1.0.0', '{"name": "shop:item_1"}', '2026-12-01 07:05:06.233389+00');
INSERT INTO public.pattern_quality_history VALUES ('3f0f6f0a-7a55-5b0e-8a3c-000000000001', '2026-01-01 00:00:05+00', '0192f000-0000-7000-8000-000000000005', 0.625, 0.9, '1.0.0', '{"name": "shop:item_1"}', '2026-12-01 07:05:06.233389+00');
INSERT INTO public.pattern_quality_history VALUES ('3f0f6f0a-7a55-5b0e-8a3c-000000000002', '2026-01-01 00:00:02+00', '0192f000-0000-7000-8000-000000000002', 0.25, 0.9, '1.0.0', '{"name": "shop:item_2"}', '2026-12-01 07:05:06.233389+00');
INSERT INTO public.pattern_quality_history VALUES ('3f0f6f0a-7a55-5b0e-8a3c-000000000003', '2026-01-01 00:00:03+00', '0192f000-0000-7000-8000-000000000003', 0.375, 0.9, '1.0.0', '{"name": "shop:item_3"}', '2026-12-01 07:05:06.233389+00');
INSERT INTO public.pattern_quality_metrics VALUES ('01a2306b-e1f3-7633-9de5-174de7ab44b9', '3f0f6f0a-7a55-5b0e-8a3c-000000000000', 0.5, 0.9, '2026-01-01 00:00:04+00', '1.0.0', '{"name": "shop:item_0"}', '2026-12-01 07:05:06.233389+00', '2026-12-01 07:05:06.233389+00', '0192f000-0000-7000-8000-000000000004');
INSERT INTO public.pattern_quality_metrics VALUES ('01a2306b-e1f3-7633-9de5-174de7ab44ba', '3f0f6f0a-7a55-5b0e-8a3c-000000000001', 0.625, 0.9, '2026-01-01 00:00:05+00', '1.0.0', '{"name": "shop:item_1"}', '2026-12-01 07:05:06.233389+00', '2026-12-01 07:05:06.233389+00', '0192f000-0000-7000-8000-000000000005');
INSERT INTO public.pattern_quality_metrics VALUES ('01a2306b-e1f3-7633-9de5-174de7ab44bb', '3f0f6f0a-7a55-5b0e-8a3c-000000000002', 0.25, 0.9, '2026-01-01 00:00:02+00', '1.0.0', '{"name": "shop:item_2"}', '2026-12-01 07:05:06.233389+00', '2026-12-01 07:05:06.233389+00', '0192f000-0000-7000-8000-000000000002');
INSERT INTO public.pattern_quality_metrics VALUES ('01a2306b-e1f3-7633-9de5-174de7ab44bc', '3f0f6f0a-7a55-5b0e-8a3c-000000000003', 0.375, 0.9, '2026-01-01 00:00:03+00', '1.0.0', '{"name": "shop:item_3"}', '2026-12-01 07:05:06.233389+00', '2026-12-01 07:05:06.233389+00', '0192f000-0000-7000-8000-000000000003');
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (topic, partition, "offset", record_timestamp);
ALTER TABLE ONLY public.ingest_gaps
    ADD CONSTRAINT ingest_gaps_pkey PRIMARY KEY (consumer_group, topic, partition, first_offset);
ALTER TABLE ONLY public.ingest_progress
    ADD CONSTRAINT ingest_progress_pkey PRIMARY KEY (consumer_group, topic, partition);
ALTER TABLE ONLY public.pattern_quality_history
    ADD CONSTRAINT pattern_quality_history_measurement_unique UNIQUE (pattern_id, measurement_timestamp);
ALTER TABLE ONLY public.pattern_quality_metrics
    ADD CONSTRAINT pattern_quality_metrics_pattern_id_unique UNIQUE (pattern_id);
ALTER TABLE ONLY public.pattern_quality_metrics
    ADD CONSTRAINT pattern_quality_metrics_pkey PRIMARY KEY (id);
