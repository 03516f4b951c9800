-- A page of patterns in one of the orders, of those that fulfil every given condition; from a percentage of the blocks,
-- plus a range of ids whatever their names. The first 10,000 ids of the range come from the index even if not all blocks
-- are read, because a range is almost never longer. Best and worst are by the score, or by the dimension $14, which the
-- pattern then has. The key is a number (as it is, or negative), then a text, then the pattern. If $15, each row also
-- has the number of patterns from the beginning of the page on, for which all are read once more.
WITH reach AS (
    SELECT coalesce(
        (
            SELECT pattern_id FROM pattern_quality_metrics
            WHERE $1::double precision < 100 AND pattern_id BETWEEN $8::uuid AND $9::uuid
            ORDER BY pattern_id
            OFFSET 9999 LIMIT 1
        ),
        $9
    ) AS pattern_id
),

keyed AS NOT MATERIALIZED (
    SELECT pattern_id, number, words
    FROM (
        SELECT
            pattern_id,
            CASE $3::text
                WHEN 'best' THEN -score
                WHEN 'worst' THEN score
                WHEN 'newest' THEN -extract(epoch FROM measurement_timestamp)::double precision
                WHEN 'oldest' THEN extract(epoch FROM measurement_timestamp)::double precision
                WHEN 'unsure' THEN confidence
                ELSE 0
            END AS number,
            CASE WHEN $3 = 'name' AND jsonb_typeof(metadata -> 'name') = 'string'
                THEN left(lower(metadata ->> 'name'), 100) ELSE ''
            END COLLATE "C" AS words
        FROM (
            SELECT *, CASE
                WHEN $14::text IS NULL THEN quality_score
                WHEN jsonb_typeof(metadata -> 'dimensions' -> $14) = 'number'
                    THEN least(greatest((metadata -> 'dimensions' -> $14)::numeric, 0), 1)::double precision
            END AS score
            FROM (
                SELECT *
                FROM pattern_quality_metrics TABLESAMPLE SYSTEM ($1) REPEATABLE ($2::double precision)
                WHERE ($7::text IS NULL OR pattern_id BETWEEN $8 AND $9
                       OR (jsonb_typeof(metadata -> 'name') = 'string'
                           AND strpos(lower(metadata ->> 'name'), lower($7)) > 0))
                  AND ($8 IS NULL OR pattern_id NOT BETWEEN $8 AND (SELECT pattern_id FROM reach))
                UNION ALL
                SELECT * FROM pattern_quality_metrics
                WHERE pattern_id BETWEEN $8 AND (SELECT pattern_id FROM reach)
            ) AS present
        ) AS found
        WHERE ($4::double precision IS NULL OR quality_score >= $4)
          AND ($5::double precision IS NULL OR quality_score < $5)
          AND ($6::text IS NULL OR version = $6)
          AND ($14 IS NULL OR score IS NOT NULL)
    ) AS keyed
    WHERE $10::double precision IS NULL OR (number, words, pattern_id) > ($10, $11::text, $12::uuid)
)

SELECT (to_jsonb(shown) - '{name,dimensions}'::text[])::text AS shown, shown.name, shown.dimensions,
       page.number, page.words, page.pattern_id,
       CASE WHEN $15::boolean THEN (SELECT count(*) FROM keyed) END AS remaining
FROM (
    SELECT pattern_id, number, words FROM keyed
    ORDER BY number, words, pattern_id
    LIMIT $13
) AS page
CROSS JOIN LATERAL (
    SELECT
        pattern_id, metadata -> 'name' AS name, quality_score, band, confidence, version, measurement_timestamp,
        metadata -> 'dimensions' AS dimensions
    FROM pattern_quality_current AS present
    WHERE present.pattern_id = page.pattern_id
    LIMIT 1
) AS shown
ORDER BY page.number, page.words, page.pattern_id
