-- Deletes at most $1 rows that are gone, and counts them. Rows in use are skipped, and what
-- was renewed or claimed anew in the meantime stays. The time to look is one that stands still:
-- only up to such a one the index is read.
WITH swept AS (
    DELETE FROM {keys}
    WHERE ctid = ANY (ARRAY(
            SELECT ctid
            FROM {keys}
            WHERE expires_at <= statement_timestamp() AND kept_until <= clock_timestamp()
            ORDER BY expires_at
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        ))
        AND kept_until <= clock_timestamp()
    RETURNING key
)
SELECT count(*) AS swept, {age} FROM swept
