//! What was found -> what to do. Pure, and tested as a table.

use std::time::Duration;

use crate::{
    fingerprint::Fingerprint,
    record::Record,
    rejection::RejectionKind,
    store::{Claimed, Lease, Standing},
};

/// What to do with a request that may not run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Answer from the record.
    Replay(Record),
    /// Refuse it; the reason may last this long.
    Reject(RejectionKind, Option<Duration>),
}

/// What to do with a request whose claim found `claimed`: run it under this lease, or not.
pub(crate) fn on_claim(claimed: Claimed, fingerprint: Fingerprint) -> Result<Lease, Verdict> {
    Err(match claimed {
        Claimed::Acquired(lease) => return Ok(lease),
        Claimed::Completed { record, .. } => on_record(record, fingerprint),
        Claimed::InFlight { remaining, .. } => {
            Verdict::Reject(RejectionKind::InFlight, Some(remaining))
        }
        Claimed::Mismatch => Verdict::Reject(RejectionKind::Conflict, None),
        Claimed::Unknown => Verdict::Reject(RejectionKind::OutcomeUnknown, None),
    })
}

/// What to answer to one who executed and then lost the lease: never the own answer.
pub(crate) fn on_loss(standing: Standing, fingerprint: Fingerprint) -> Verdict {
    match standing {
        Standing::Completed(record) if record.fingerprint() == fingerprint => {
            on_record(record, fingerprint)
        }
        Standing::InFlight { remaining } => {
            Verdict::Reject(RejectionKind::InFlight, Some(remaining))
        }
        // It was done, and whatever stands there now is not its answer.
        Standing::Completed(_) | Standing::Absent => {
            Verdict::Reject(RejectionKind::ResultUnavailable, None)
        }
    }
}

fn on_record(record: Record, fingerprint: Fingerprint) -> Verdict {
    // A store compares fingerprints itself; answering with another request's record is the
    // one mistake that must not depend on it.
    if record.fingerprint() == fingerprint {
        of_record(record)
    } else {
        Verdict::Reject(RejectionKind::Conflict, None)
    }
}

/// What to do with the request that `record` answers.
pub(crate) fn of_record(record: Record) -> Verdict {
    if record.as_answer().is_some() {
        Verdict::Replay(record)
    } else {
        Verdict::Reject(RejectionKind::ResultUnavailable, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record_key::RecordKey,
        store::{Claim, Fence},
    };
    use bytes::Bytes;
    use http::Response;

    const ASKED: Fingerprint = Fingerprint::custom([1; 32]);
    const OTHER: Fingerprint = Fingerprint::custom([2; 32]);
    const LEFT: Duration = Duration::from_secs(9);

    fn answer(fingerprint: Fingerprint) -> Record {
        Record::answer(fingerprint, &Response::new(Bytes::new()))
    }

    fn completed(record: Record) -> Claimed {
        let remaining = LEFT;
        Claimed::Completed { record, remaining }
    }

    #[test]
    fn after_a_claim() {
        let key = RecordKey::from_bytes([0; 32]);
        let lease = Claim::new(&key, ASKED).won(Fence::new(1), 1);
        let in_flight = Claimed::InFlight {
            fence: Fence::new(1),
            remaining: LEFT,
        };
        let reject = |kind| Verdict::Reject(kind, None);
        let table = [
            (completed(answer(ASKED)), Verdict::Replay(answer(ASKED))),
            (completed(answer(OTHER)), reject(RejectionKind::Conflict)),
            (
                completed(Record::sealed(ASKED)),
                reject(RejectionKind::ResultUnavailable),
            ),
            (
                completed(Record::wrapped(ASKED, Bytes::new())),
                reject(RejectionKind::ResultUnavailable),
            ),
            (
                completed(Record::sealed(OTHER)),
                reject(RejectionKind::Conflict),
            ),
            (
                in_flight,
                Verdict::Reject(RejectionKind::InFlight, Some(LEFT)),
            ),
            (Claimed::Mismatch, reject(RejectionKind::Conflict)),
            (Claimed::Unknown, reject(RejectionKind::OutcomeUnknown)),
        ];
        for (found, expected) in table {
            assert_eq!(on_claim(found, ASKED), Err(expected));
        }
        let won = Claimed::Acquired(lease.clone());
        assert_eq!(on_claim(won, ASKED), Ok(lease));
    }

    #[test]
    fn after_a_lost_lease() {
        let reject = |kind| Verdict::Reject(kind, None);
        let table = [
            (
                Standing::Completed(answer(ASKED)),
                Verdict::Replay(answer(ASKED)),
            ),
            (
                Standing::Completed(answer(OTHER)),
                reject(RejectionKind::ResultUnavailable),
            ),
            (
                Standing::Completed(Record::sealed(ASKED)),
                reject(RejectionKind::ResultUnavailable),
            ),
            (Standing::Absent, reject(RejectionKind::ResultUnavailable)),
            (
                Standing::InFlight { remaining: LEFT },
                Verdict::Reject(RejectionKind::InFlight, Some(LEFT)),
            ),
        ];
        for (found, expected) in table {
            assert_eq!(on_loss(found, ASKED), expected);
        }
    }
}
