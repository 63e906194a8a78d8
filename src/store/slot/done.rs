//! A record as a store keeps it.

use super::Moment;
use crate::{
    record::Record,
    store::{Claim, Claimed, Fence, Lease, Standing},
};

/// A record. Its fence, unique in the store, tells whose it is: the token can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Done {
    pub(in crate::store) record: Record,
    pub(in crate::store) fence: Fence,
    pub(in crate::store) until: Moment,
}

impl Done {
    pub(in crate::store) fn claim(&self, claim: &Claim<'_>, now: Moment) -> Claimed {
        if self.record.fingerprint() != claim.fingerprint() {
            return Claimed::Mismatch;
        }
        Claimed::Completed {
            record: self.record.clone(),
            remaining: now.until(self.until),
        }
    }

    pub(in crate::store) fn is_of(&self, lease: &Lease) -> bool {
        self.fence == lease.fence()
    }

    pub(in crate::store) fn standing(&self) -> Standing {
        Standing::Completed(self.record.clone())
    }
}
