//! What operators do with a key.

use std::{mem, time::Duration};

use bytes::Bytes;
use http::Response;

use super::{Done, Moment, Slot, State};
use crate::{
    record::Record,
    store::{Fence, Resolution, Standing},
};

impl Slot {
    /// For operators: drops whatever stands here, and says what it was.
    ///
    /// **The operation can then be carried out again**, also while it is still being
    /// carried out.
    pub fn forget(&mut self, now: Duration) -> Standing {
        mem::take(self).standing(now)
    }

    /// For operators: gives the answer to an operation whose lease lapsed before it was
    /// completed. Retries get it for `retention` from `now`. `fence` as for a claim: whoever
    /// held the lease can no longer complete it.
    pub fn resolve(
        &mut self,
        response: &Response<Bytes>,
        retention: Duration,
        fence: Fence,
        now: Duration,
    ) -> Resolution {
        let fence = fence.max(self.next_fence());
        let now = Moment::at(now);
        let fingerprint = match &self.0 {
            _ if self.is_gone(now) => return Resolution::Absent,
            State::Free => return Resolution::Absent,
            State::InFlight(held) if !held.has_lapsed(now) => return Resolution::StillInFlight,
            State::InFlight(held) => held.fingerprint,
            State::Done(_) => return Resolution::AlreadyCompleted,
        };
        self.0 = State::Done(Done {
            record: Record::answer(fingerprint, response),
            fence,
            until: now.plus(retention),
        });
        Resolution::Resolved
    }
}
