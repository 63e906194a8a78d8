-- Whether the server can be trusted with keys, and what stands under the name $1.
SELECT
    pg_is_in_recovery() AS standby,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('fsync') AS fsync,
    current_schema() AS current_schema,
    class.relpersistence = 'u' AS unlogged,
    namespace.nspname AS schema,
    obj_description(class.oid, 'pg_class') AS comment
FROM (SELECT to_regclass($1) AS oid) AS wanted
LEFT JOIN pg_class AS class ON class.oid = wanted.oid
LEFT JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
