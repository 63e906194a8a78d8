-- Schema 1 of the PostgreSQL store of tower-idempotency.
--
-- `PostgresOptions::migrate` runs this file; so may `psql -f`, or the migration tool you use.
-- Running it again changes nothing.

-- Fences never restart: one sequence for all keys, without a cache, which would hand out
-- numbers of one session after higher numbers of another.
CREATE SEQUENCE IF NOT EXISTS idempotency_fences AS bigint CACHE 1;

CREATE TABLE IF NOT EXISTS idempotency_keys (
    -- The record key: a digest of namespace, scope, method, path and key.
    key bytea PRIMARY KEY,
    -- What was asked: one byte of version, 32 of digest.
    fingerprint bytea NOT NULL,
    -- The lease: who holds the key, as which attempt, and until when. A token of no bytes: the
    -- key was released, and the row stays for what was saved with it.
    token bytea NOT NULL,
    fence bigint NOT NULL,
    attempt integer NOT NULL,
    lease_until timestamptz NOT NULL,
    -- Whether somebody on another node waits to be notified of the end of the lease.
    waiting boolean NOT NULL DEFAULT false,
    -- What earlier attempts saved, by name, in base64.
    checkpoints jsonb,
    -- The record; null while in flight.
    response bytea,
    -- From then on the key is as if never seen. Without an index, so that completing a key
    -- changes no index.
    kept_until timestamptz NOT NULL,
    -- When to look whether the row can go: later than `kept_until` nearly always is.
    expires_at timestamptz NOT NULL
) WITH (
    -- Room for the new version of a row beside the old one: a heap-only update.
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.05
);

-- Answers are mostly compressed already, or small.
ALTER TABLE idempotency_keys ALTER COLUMN response SET STORAGE EXTERNAL;

CREATE INDEX IF NOT EXISTS idempotency_keys_expires_at ON idempotency_keys (expires_at);

COMMENT ON TABLE idempotency_keys IS 'tower-idempotency schema 1';
