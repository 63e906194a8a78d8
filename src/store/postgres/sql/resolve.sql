-- Completes key $1, whose lease with fence $2 lapsed, for an operator: with the record $3,
-- kept for $4 seconds, under the token $5, which is not that of whoever held it.
UPDATE {keys} SET
    token = $5,
    fence = nextval('{fences}'),
    response = $3,
    checkpoints = NULL,
    kept_until = clock_timestamp() + make_interval(secs => $4),
    expires_at = greatest(expires_at, clock_timestamp() + make_interval(secs => $4))
WHERE key = $1 AND fence = $2
    AND response IS NULL
    AND lease_until <= clock_timestamp()
    AND kept_until > clock_timestamp()
RETURNING {age}
