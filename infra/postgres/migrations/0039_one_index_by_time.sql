-- The primary key begins with the time since 0033, so it answers what this index did. Each row that comes costs less.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['decisions', 'deliveries', 'engagement'] LOOP
        IF EXISTS (SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                   WHERE i.indrelid = name::regclass AND i.indisprimary AND a.attname = 'time') THEN
            EXECUTE format('DROP INDEX IF EXISTS %I', name || '_time_idx');
        END IF;
    END LOOP;
END $$;
