-- read: the server itself. -> version, time, whether it is read only
SELECT current_setting('server_version_num')::int, clock_timestamp(), pg_is_in_recovery();

-- settings: in force, as SHOW writes them. -> name, value
SELECT s.name, current_setting(s.name) FROM pg_settings s WHERE s.name = ANY (%(names)s::text[]);

-- aside: whether a schema holds what a restore is replacing. -> one row where it does
SELECT 1 FROM pg_namespace WHERE nspname = 'postback_before_restore';
