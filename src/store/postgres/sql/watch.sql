-- Raises the flag of key $1 if the lease with fence $2 holds it: whoever ends that lease
-- then says so. No row: there is nothing to wait for.
WITH held AS MATERIALIZED (
    SELECT waiting, lease_until - clock_timestamp() AS remaining
    FROM {keys}
    WHERE key = $1 AND fence = $2
        AND response IS NULL
        AND lease_until > clock_timestamp()
),
raised AS (
    UPDATE {keys} SET waiting = true
    WHERE key = $1 AND fence = $2
        AND response IS NULL
        AND lease_until > clock_timestamp()
        AND EXISTS (SELECT FROM held WHERE NOT waiting)
    RETURNING key
)
SELECT extract(epoch FROM remaining)::float8 AS remaining, {age}
FROM held
WHERE waiting OR EXISTS (SELECT FROM raised)
