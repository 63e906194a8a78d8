-- What stands under key $1 for the lease with token $2 and fence $3.
SELECT
    CASE
        WHEN kept_until <= clock_timestamp() THEN 'absent'
        WHEN token = $2 AND fence = $3 AND response IS NULL THEN 'held'
        WHEN token = $2 AND fence = $3 THEN 'finished'
        WHEN response IS NULL THEN 'in flight'
        ELSE 'completed'
    END AS found,
    extract(epoch FROM lease_until - clock_timestamp())::float8 AS remaining,
    response,
    NULL::text AS told, {age}
FROM {keys}
WHERE key = $1
