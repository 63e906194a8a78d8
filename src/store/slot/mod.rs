//! What stands under one key, and what each verb makes of it.

mod codec;
mod done;
mod held;
mod moment;
mod operator;

use std::time::Duration;

use bytes::Bytes;

use super::{Claim, Claimed, Completion, Fence, Lease, Standing};
use crate::{codec::DecodeError, record::Record};

pub(super) use self::{
    done::Done,
    held::{Held, Sight},
    moment::{Moment, nanos},
};

/// What stands under one key: nothing, a lease, or a record. Holds the laws of a
/// [`Store`](super::Store) for that key, without a clock, a lock or a wire.
///
/// With it, a store is whatever can read, change and write one value in one atomic step: a
/// map under a lock, or an engine that keeps [bytes](Self::encoded) and has transactions or
/// compare-and-swap. The store adds three things:
///
/// * **The atomic step.** Read the slot (absent is [`Slot::new`]), call one verb, write it
///   back, and only then answer.
/// * **`now`**, the time since an epoch of the store's choice on the store's own clock. All
///   nodes must agree on it, and it must not go back.
/// * **Fences** that never restart, not even with the store: a counter that is kept, or a
///   clock that never goes back. Gaps do no harm. The slot itself sees to it that a fence is
///   above that of what stands under its key.
///
/// ```
/// use std::time::Duration;
/// use tower_idempotency::{
///     Fingerprint, Record, RecordKey,
///     store::{Claim, Claimed, Completion, Fence, Slot},
/// };
///
/// let key = RecordKey::from_bytes([42; 32]);
/// let request = Fingerprint::custom([1; 32]);
/// let (mut slot, mut now) = (Slot::new(), Duration::ZERO);
///
/// let claim = Claim::new(&key, request);
/// let Claimed::Acquired(lease) = slot.claim(&claim, Fence::new(1), now) else {
///     panic!("nobody else is here");
/// };
/// now += Duration::from_secs(1);
/// let hour = Duration::from_secs(3600);
/// let record = Record::sealed(request);
/// assert_eq!(slot.complete(&lease, &record, hour, now), Completion::Applied);
///
/// let retry = slot.claim(&Claim::new(&key, request), Fence::new(2), now);
/// assert_eq!(retry, Claimed::completed(record, hour));
/// ```
///
/// `examples/custom_store.rs` is a whole store of some fifty lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slot(pub(super) State);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Free,
    InFlight(Held),
    Done(Done),
}

impl Slot {
    /// A slot in which nothing stands.
    #[must_use]
    pub const fn new() -> Self {
        Self(State::Free)
    }

    /// What `claim` finds. If it wins the key, the lease gets `fence`, or the next one above
    /// what stood here if that is higher.
    pub fn claim(&mut self, claim: &Claim<'_>, fence: Fence, now: Duration) -> Claimed {
        let now = Moment::at(now);
        let attempt = match self.look(claim, now) {
            Sight::Stands(claimed) => return claimed,
            Sight::Free { attempt } => attempt,
        };
        let fence = fence.max(self.next_fence());
        self.0 = State::InFlight(Held::new(claim, fence, attempt, now));
        Claimed::Acquired(claim.won(fence, attempt))
    }

    fn look(&mut self, claim: &Claim<'_>, now: Moment) -> Sight {
        if self.is_gone(now) {
            return Sight::Free { attempt: 1 };
        }
        match &mut self.0 {
            State::Free => Sight::Free { attempt: 1 },
            State::InFlight(held) => held.claim(claim, now),
            State::Done(done) => Sight::Stands(done.claim(claim, now)),
        }
    }

    fn next_fence(&self) -> Fence {
        Fence::new(match &self.0 {
            State::Free => 0,
            State::InFlight(held) => held.fence.get().saturating_add(1),
            State::Done(done) => done.fence.get().saturating_add(1),
        })
    }

    /// Ends `lease` with a record, which is kept for `retention` from `now`.
    pub fn complete(
        &mut self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
        now: Duration,
    ) -> Completion {
        match self.bond(lease, now) {
            Bond::Holder(_) => {}
            Bond::Finisher(_) => return Completion::AlreadyApplied,
            Bond::None(standing) => return Completion::Lost(standing),
        }
        self.0 = State::Done(Done {
            record: record.clone(),
            fence: lease.fence(),
            until: Moment::at(now).plus(retention),
        });
        Completion::Applied
    }

    /// Ends `lease` without a record: nothing stands here any more.
    pub fn release(&mut self, lease: &Lease, now: Duration) -> Completion {
        match self.bond(lease, now) {
            Bond::Holder(_) => {
                self.0 = State::Free;
                Completion::Applied
            }
            Bond::None(Standing::Absent) => Completion::AlreadyApplied,
            Bond::Finisher(standing) | Bond::None(standing) => Completion::Lost(standing),
        }
    }

    /// Prolongs `lease` to its full duration from `now`.
    pub fn renew(&mut self, lease: &Lease, now: Duration) -> Completion {
        match self.bond(lease, now) {
            Bond::Holder(held) => {
                held.renew(lease.duration(), Moment::at(now));
                Completion::Applied
            }
            Bond::Finisher(standing) | Bond::None(standing) => Completion::Lost(standing),
        }
    }

    fn bond(&mut self, lease: &Lease, now: Duration) -> Bond<'_> {
        let now = Moment::at(now);
        if self.is_gone(now) {
            return Bond::None(Standing::Absent);
        }
        match &mut self.0 {
            State::InFlight(held) if !held.is_of(lease) => Bond::None(held.standing(now)),
            State::Done(done) if !done.is_of(lease) => Bond::None(done.standing()),
            State::InFlight(held) => Bond::Holder(held),
            State::Done(done) => Bond::Finisher(done.standing()),
            State::Free => Bond::None(Standing::Absent),
        }
    }

    /// How long a waiter for the lease with `fence` may sleep before it looks again: the
    /// time left of that lease, and nothing if it is over.
    #[must_use]
    pub fn settles_in(&self, fence: Fence, now: Duration) -> Duration {
        let now = Moment::at(now);
        match &self.0 {
            State::InFlight(held) if held.is_waited_for(fence, now) => now.until(held.deadline),
            _ => Duration::ZERO,
        }
    }

    /// What stands here.
    #[must_use]
    pub fn standing(&self, now: Duration) -> Standing {
        let now = Moment::at(now);
        match &self.0 {
            _ if self.is_gone(now) => Standing::Absent,
            State::Free => Standing::Absent,
            State::InFlight(held) => held.standing(now),
            State::Done(done) => done.standing(),
        }
    }

    fn is_gone(&self, now: Moment) -> bool {
        match &self.0 {
            State::Free => true,
            State::InFlight(held) => held.is_gone(now),
            State::Done(done) => now >= done.until,
        }
    }

    /// From when on this slot is as if never seen, and may be collected; `None` if nothing
    /// stands here.
    #[must_use]
    pub fn gone_at(&self) -> Option<Duration> {
        match &self.0 {
            State::Free => None,
            State::InFlight(held) => Some(held.gone_at().since_epoch()),
            State::Done(done) => Some(done.until.since_epoch()),
        }
    }

    /// The slot as bytes, for an engine that keeps bytes: versioned and checksummed. `None`
    /// if nothing stands here: the engine deletes the key.
    #[must_use]
    pub fn encoded(&self) -> Option<Bytes> {
        codec::encode(&self.0)
    }

    /// Reads what [`encoded`](Self::encoded) wrote. The body of a record is not copied.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the bytes are not a whole, unchanged slot of a version this crate
    /// knows. A store reports that as *corrupt*, never as absent.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        codec::decode(bytes).map(Self)
    }
}

/// What a lease is to a slot.
enum Bond<'a> {
    /// It holds the key.
    Holder(&'a mut Held),
    /// It completed the key.
    Finisher(Standing),
    None(Standing),
}

#[cfg(test)]
mod tests;
