//! What went wrong, as a store says it.

use std::time::Duration;

use redis::{RedisError, ServerError, Value};

use crate::store::StoreError;

/// The server did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the server did not answer within {0:?}")]
pub(super) struct Silent(pub(super) Duration);

/// The key changed again and again while it was looked at.
#[derive(Debug, thiserror::Error)]
#[error("the key changed each time it was looked at")]
pub(super) struct Restless;

/// No server of the cluster says that it has the slot of the key.
#[derive(Debug, thiserror::Error)]
#[error("no server of the cluster has the slot of the key")]
pub(super) struct Homeless;

/// A reply is not one that the command has.
#[derive(Debug, thiserror::Error)]
#[error("the server answered with something unexpected")]
pub(super) struct Unexpected;

/// Under the key stands something that this store did not write, or it was damaged.
#[derive(Debug, thiserror::Error)]
#[error("the value under the key is not a record of this store")]
pub(super) struct NotARecord;

/// The write was done, but might be lost with the primary.
#[derive(Debug, thiserror::Error)]
#[error("{confirmed} of {wanted} replicas confirmed the write in time")]
pub(super) struct Unconfirmed {
    pub(super) confirmed: u64,
    pub(super) wanted: u32,
}

/// There was no connection to send anything on.
pub(super) fn not_sent(error: RedisError) -> StoreError {
    StoreError::not_applied(error)
}

/// The connection failed with a call on it.
pub(super) fn lost(error: RedisError) -> StoreError {
    StoreError::unknown(error)
}

/// The server refused a script. Scripts fail before their first write or not at all.
pub(super) fn refused(error: ServerError) -> StoreError {
    if is(&error, "OOM", "OOM command not allowed") {
        return StoreError::full();
    }
    StoreError::not_applied(RedisError::from(error))
}

/// Whether the server refused a write since it is a replica.
pub(super) fn is_from_replica(reply: &Value) -> bool {
    match reply {
        Value::ServerError(error) => is(error, "READONLY", "-READONLY "),
        _ => false,
    }
}

/// Redis 6.2 puts the error of a command into the text of that of the script.
fn is(error: &ServerError, code: &str, in_text: &str) -> bool {
    error.code() == code || error.details().unwrap_or_default().contains(in_text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind::{self, Full, NotApplied};
    use redis::parse_redis_value;

    fn kind(reply: &str) -> StoreErrorKind {
        let reply = format!("-{reply}\r\n");
        match parse_redis_value(reply.as_bytes()) {
            Ok(Value::ServerError(error)) => refused(error).kind(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_server_refuses_is_not_applied() {
        for reply in [
            "READONLY You can't write against a read only replica.",
            "MASTERDOWN Link with MASTER is down",
            "LOADING Redis is loading the dataset in memory",
            "CLUSTERDOWN Hash slot not served",
            "MOVED 3999 127.0.0.1:6381",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "NOREPLICAS Not enough good replicas to write.",
            "MISCONF Redis is configured to save RDB snapshots",
            "BUSY Redis is busy running a script.",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "ERR Error running script (call to f_1): @user_script:9: whatever",
        ] {
            assert_eq!(kind(reply), NotApplied, "{reply}");
        }
    }

    #[test]
    fn a_full_server_is_a_full_store() {
        for reply in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -OOM command \
             not allowed when used memory > 'maxmemory'.",
        ] {
            assert_eq!(kind(reply), Full, "{reply}");
        }
    }

    #[test]
    fn a_replica_is_known_by_its_words() {
        let is_from_replica = |reply: &[u8]| is_from_replica(&parse_redis_value(reply).unwrap());
        for reply in [
            "-READONLY You can't write against a read only replica.\r\n",
            "-ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY \
             You can't write against a read only replica.\r\n",
        ] {
            assert!(is_from_replica(reply.as_bytes()), "{reply}");
        }
        assert!(!is_from_replica(
            b"-MASTERDOWN Link with MASTER is down\r\n"
        ));
        assert!(!is_from_replica(b"+READONLY\r\n"));
    }
}
