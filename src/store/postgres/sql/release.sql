-- Frees key $1 of the lease with token $2 and fence $3. Tells channel $4 if somebody waits.
-- If it cannot, what stands there instead.
WITH done AS (
    DELETE FROM {keys}
    WHERE key = $1 AND token = $2 AND fence = $3
        AND response IS NULL
    RETURNING waiting
)
SELECT
    'applied' AS found, NULL::float8 AS remaining, NULL::bytea AS response,
    CASE WHEN waiting THEN pg_notify($4, encode($1, 'hex'))::text END AS told
FROM done
UNION ALL
SELECT * FROM ({standing}) AS standing
WHERE NOT EXISTS (SELECT FROM done)
