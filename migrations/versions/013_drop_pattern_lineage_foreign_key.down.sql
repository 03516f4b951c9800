-- Down from 013: changes nothing. The lineage table that the key referred to is no longer known, and patterns scored
-- since then may have no lineage.

DO $$
BEGIN
    RAISE NOTICE 'the foreign key to the lineage table is not put back';
END
$$;
