-- The keys of tower-idempotency, version 1 (user_version). Times are nanoseconds since 1970
-- on the clock of this file, see idempotency_file.

CREATE TABLE idempotency_keys (
    record_key  BLOB    NOT NULL PRIMARY KEY,  -- 32 bytes
    fingerprint BLOB    NOT NULL,              -- its version (1 byte) and digest (32 bytes)
    fence       INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,              -- from then on as if never seen

    -- Of a key in flight.
    token       BLOB,                          -- 16 bytes
    attempt     INTEGER,
    lapses_at   INTEGER,                       -- the end of the lease

    -- Of a completed key.
    record      BLOB,

    CHECK (CASE WHEN record IS NULL
           THEN token IS NOT NULL AND attempt IS NOT NULL AND lapses_at IS NOT NULL
           ELSE token IS NULL AND attempt IS NULL AND lapses_at IS NULL END)
) STRICT;

CREATE INDEX idempotency_keys_expires_at ON idempotency_keys (expires_at);

-- One row: the highest time seen and the last fence given, neither of which ever goes back. Fences are
-- microseconds since 1970, or one above the last.
CREATE TABLE idempotency_file (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    clock INTEGER NOT NULL,
    fence INTEGER NOT NULL
) STRICT;

INSERT INTO idempotency_file (id, clock, fence) VALUES (1, 0, 0);

PRAGMA application_id = 0x54494B31;  -- "TIK1"
PRAGMA user_version = 1;
