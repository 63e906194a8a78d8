-- Claims a key: $1 key, $2 fingerprint, $3 token, $4 lease and $5 retention in seconds,
-- $6 whether a lapsed lease is taken over, $7 what to lock for the key.
--
-- First reads what stands there, so that a replay writes nothing. Only if that answers
-- nothing the row is written, guarded once more. No row at all: another was faster; again.
WITH found AS MATERIALIZED (
    SELECT
        CASE
            WHEN fingerprint <> $2 THEN 'mismatch'
            WHEN response IS NOT NULL THEN 'completed'
            WHEN token = $3 THEN 'free'
            WHEN lease_until > clock_timestamp() THEN 'in flight'
            WHEN $6 THEN 'free'
            ELSE 'unknown'
        END AS found,
        fence, attempt, response,
        CASE WHEN response IS NULL THEN lease_until ELSE kept_until END
            - clock_timestamp() AS remaining
    FROM {keys}
    WHERE key = $1 AND kept_until > clock_timestamp()
),
-- Those who draw a fence for one key do so one after the other, each until it is committed.
-- Else one could draw, be held up, and come after a higher fence was won and released.
alone AS MATERIALIZED (
    SELECT pg_advisory_xact_lock($7)
    WHERE NOT EXISTS (SELECT FROM found WHERE found <> 'free')
),
won AS (
    INSERT INTO {keys} AS old
        (key, fingerprint, token, fence, attempt, lease_until, kept_until, expires_at)
    SELECT
        $1, $2, $3, nextval('{fences}'), 1,
        clock_timestamp() + make_interval(secs => $4),
        clock_timestamp() + make_interval(secs => $4 + $5),
        -- Late enough for the retention of most records, which begins at completion.
        clock_timestamp() + make_interval(secs => $4 * 2 + $5 * 1.125)
    FROM alone
    ON CONFLICT (key) DO UPDATE SET
        fingerprint = excluded.fingerprint,
        token = excluded.token,
        fence = CASE
            WHEN old.kept_until > clock_timestamp() AND old.token = excluded.token
            THEN old.fence
            ELSE nextval('{fences}')
        END,
        attempt = CASE
            WHEN old.kept_until <= clock_timestamp() THEN 1
            WHEN old.token = excluded.token THEN old.attempt
            ELSE old.attempt + 1
        END,
        lease_until = excluded.lease_until,
        waiting = old.waiting AND old.token = excluded.token,
        checkpoints = CASE
            WHEN old.kept_until > clock_timestamp() THEN old.checkpoints
            -- Released, and asked for again.
            WHEN old.token = '' AND old.fingerprint = excluded.fingerprint
                AND old.expires_at > clock_timestamp()
            THEN old.checkpoints
        END,
        response = NULL,
        kept_until = excluded.kept_until,
        expires_at = greatest(old.expires_at, excluded.kept_until)
    WHERE old.kept_until <= clock_timestamp()
        OR old.response IS NULL
            AND old.fingerprint = excluded.fingerprint
            AND (old.token = excluded.token
                OR $6 AND old.lease_until <= clock_timestamp())
    RETURNING fence, attempt
)
SELECT
    'acquired' AS found, fence, attempt,
    NULL::float8 AS remaining, NULL::bytea AS response, {age}
FROM won
UNION ALL
SELECT
    found, fence, attempt,
    extract(epoch FROM remaining)::float8,
    CASE WHEN found = 'completed' THEN response END, {age}
FROM found
WHERE found <> 'free'
