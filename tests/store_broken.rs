//! A suite that cannot fail proves nothing: each of these faults must break a law.
#![cfg(feature = "conformance")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tower_idempotency::{
    AfterCrash, Fingerprint, Record, RecordKey, Store,
    store::{
        Claim, Claimed, Completion, Fence, Lease, Standing, StoreError,
        conformance::{self, Harness},
    },
};

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    // claim
    NeverGrantsAgain,
    TreatsKeysAlikeThatBeginAlike,
    GrantsWhatIsHeld,
    ForgetsTheTokenOfAResend,
    IgnoresTheFingerprint,
    IgnoresTheFingerprintOfALapsedKey,
    KeepsTheFenceOnTakeover,
    CountsNoAttempts,
    ForgetsToHold,
    HoldsUnasked,
    // ownership
    AsksForTheFenceAlone,
    AsksForTheTokenAlone,
    AsksForNothing,
    RefusesRepeatedCompletion,
    OverwritesOnRepeatedCompletion,
    RefusesRepeatedRelease,
    CompletesAnAbsentKey,
    RenewsAnAbsentKey,
    ReleasesACompletedKey,
    RefusesTheOwnerAfterALapse,
    SaysLostWithoutSayingToWhom,
    // fences
    RestartsFencesAfterRelease,
    RestartsFencesAfterExpiry,
    // time
    NeverLapses,
    IgnoresRenewal,
    CountsRetentionFromTheClaim,
    TellsNoTimeLeft,
    NeverExpires,
    ForgetsLapsedKeysAtOnce,
    // waiting
    SleepsUntilTheLimit,
    SleepsBeyondTheLimit,
    // records
    DropsRepeatedHeaders,
    DropsSealedRecords,
    // atomicity
    ClaimsInTwoSteps,
    CompletesInTwoSteps,
    PromisesWhatItCannotReach,
    HangsWhereItCannotReach,
}

#[derive(Clone)]
struct Broken {
    fault: Fault,
    keys: Arc<Mutex<Keys>>,
    is_reachable: bool,
}

#[derive(Default)]
struct Keys {
    entries: HashMap<RecordKey, Entry>,
    fence: u64,
}

#[derive(Clone)]
struct Entry {
    lease: Lease,
    fingerprint: Fingerprint,
    lapses: Instant,
    expires: Instant,
    retention: Duration,
    record: Option<Record>,
}

impl Harness for Broken {
    type Store = Self;

    async fn client(&self) -> Self {
        self.clone()
    }

    async fn unreachable(&self) -> Option<Self> {
        let is_reachable = false;
        Some(Self {
            is_reachable,
            ..self.clone()
        })
    }
}

impl Broken {
    fn new(fault: Fault) -> Self {
        Self {
            fault,
            keys: Arc::default(),
            is_reachable: true,
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    async fn reach(&self) -> Result<(), StoreError> {
        if self.is_reachable || self.has(Fault::PromisesWhatItCannotReach) {
            return Ok(());
        }
        if self.has(Fault::HangsWhereItCannotReach) {
            std::future::pending::<()>().await;
        }
        Err(StoreError::not_applied("not there"))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Keys) -> T) -> T {
        work(&mut self.keys.lock().expect("no panic under the lock"))
    }

    fn key(&self, key: &RecordKey) -> RecordKey {
        let mut bytes = *key.as_bytes();
        if self.has(Fault::TreatsKeysAlikeThatBeginAlike) {
            bytes[16..].fill(0);
        }
        RecordKey::from_bytes(bytes)
    }

    fn owns(&self, lease: &Lease, entry: &Entry) -> bool {
        let token = entry.lease.token() == lease.token();
        let fence = entry.lease.fence() == lease.fence();
        let lapsed = entry.record.is_none() && entry.lapses <= Instant::now();
        match self.fault {
            Fault::AsksForNothing => true,
            Fault::AsksForTheFenceAlone => fence,
            Fault::AsksForTheTokenAlone => token,
            Fault::RefusesTheOwnerAfterALapse if lapsed => false,
            _ => token && fence,
        }
    }

    fn standing(&self, entry: &Entry) -> Standing {
        let remaining = entry.lapses - Instant::now();
        match &entry.record {
            _ if self.has(Fault::SaysLostWithoutSayingToWhom) => Standing::Absent,
            Some(record) => Standing::Completed(record.clone()),
            None => Standing::in_flight(remaining),
        }
    }

    /// What stands there for the claim; `Err` is the attempt under which it is free.
    fn look(&self, entry: Option<&Entry>, claim: &Claim<'_>) -> Result<Claimed, u32> {
        let Some(entry) = entry else { return Err(1) };
        let now = Instant::now();
        if entry.expires <= now && !self.has(Fault::NeverExpires) {
            let is_released = self.has(Fault::NeverGrantsAgain) && entry.record.is_none();
            return if is_released {
                Ok(Claimed::Unknown)
            } else {
                Err(1)
            };
        }
        let lapsed = entry.record.is_none() && entry.lapses <= now;
        if entry.fingerprint != claim.fingerprint()
            && !self.has(Fault::IgnoresTheFingerprint)
            && !(lapsed && self.has(Fault::IgnoresTheFingerprintOfALapsedKey))
        {
            return Ok(Claimed::Mismatch);
        }
        if let Some(record) = &entry.record {
            let remaining = match self.fault {
                Fault::TellsNoTimeLeft => Duration::MAX,
                _ => entry.expires - now,
            };
            let record = record.clone();
            return Ok(Claimed::completed(record, remaining));
        }
        let is_resend = entry.lease.token() == claim.token();
        if is_resend && !self.has(Fault::ForgetsTheTokenOfAResend) {
            return Ok(Claimed::Acquired(entry.lease.clone()));
        }
        if (!lapsed || self.has(Fault::NeverLapses)) && !self.has(Fault::GrantsWhatIsHeld) {
            let (fence, remaining) = (entry.lease.fence(), entry.lapses - now);
            return Ok(Claimed::in_flight(fence, remaining));
        }
        let hold = claim.crash_mode() == AfterCrash::Hold && !self.has(Fault::ForgetsToHold);
        if hold || self.has(Fault::HoldsUnasked) {
            return Ok(Claimed::Unknown);
        }
        let counted = u32::from(!self.has(Fault::CountsNoAttempts));
        Err(entry.lease.attempt() + counted)
    }

    fn acquire(&self, keys: &mut Keys, claim: &Claim<'_>, attempt: u32) -> Claimed {
        let now = Instant::now();
        let key = self.key(claim.key());
        keys.fence += 1;
        let fence = match keys.entries.get(&key) {
            Some(entry) if attempt > 1 && self.has(Fault::KeepsTheFenceOnTakeover) => {
                entry.lease.fence().get()
            }
            Some(entry) if self.has(Fault::RestartsFencesAfterRelease) => {
                if entry.record.is_none() && attempt == 1 {
                    1
                } else {
                    keys.fence
                }
            }
            Some(_) if attempt == 1 && self.has(Fault::RestartsFencesAfterExpiry) => 1,
            _ => keys.fence,
        };
        let lease = claim.won(Fence::new(fence), attempt);
        let kept = match self.fault {
            Fault::ForgetsLapsedKeysAtOnce => Duration::ZERO,
            _ => claim.retention(),
        };
        let entry = Entry {
            lease: lease.clone(),
            fingerprint: claim.fingerprint(),
            lapses: now + claim.lease(),
            expires: now + claim.lease() + kept,
            retention: claim.retention(),
            record: None,
        };
        keys.entries.insert(key, entry);
        Claimed::Acquired(lease)
    }

    fn as_owner(&self, lease: &Lease, write: impl FnOnce(&mut Entry) -> Completion) -> Completion {
        self.with(|keys| match keys.entries.get_mut(&self.key(lease.key())) {
            Some(entry) if entry.expires <= Instant::now() && !self.has(Fault::NeverExpires) => {
                Completion::Lost(Standing::Absent)
            }
            Some(entry) if self.owns(lease, entry) => write(entry),
            Some(entry) => Completion::Lost(self.standing(entry)),
            None => Completion::Lost(Standing::Absent),
        })
    }

    fn kept(&self, record: &Record) -> Option<Record> {
        if self.has(Fault::DropsSealedRecords) && record.is_sealed() {
            return None;
        }
        if !self.has(Fault::DropsRepeatedHeaders) {
            return Some(record.clone());
        }
        let mut response = http::Response::new(Bytes::from(record.body().concat()));
        *response.status_mut() = record.status()?;
        for (name, value) in &record.headers() {
            response.headers_mut().insert(name, value.clone());
        }
        Some(Record::answer(record.fingerprint(), &response))
    }

    fn write(&self, entry: &mut Entry, record: &Record, retention: Duration) -> Completion {
        match &entry.record {
            Some(_) if self.has(Fault::RefusesRepeatedCompletion) => {
                return Completion::Lost(self.standing(entry));
            }
            Some(_) if !self.has(Fault::OverwritesOnRepeatedCompletion) => {
                return Completion::AlreadyApplied;
            }
            _ => {}
        }
        let again = entry.record.is_some();
        entry.record = self.kept(record);
        if !self.has(Fault::CountsRetentionFromTheClaim) {
            entry.expires = Instant::now() + retention;
        }
        if again {
            Completion::AlreadyApplied
        } else {
            Completion::Applied
        }
    }
}

impl Store for Broken {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        self.reach().await?;
        let key = self.key(claim.key());
        if self.has(Fault::ClaimsInTwoSteps) {
            let found = self.with(|keys| self.look(keys.entries.get(&key), claim));
            tokio::task::yield_now().await;
            return Ok(match found {
                Ok(claimed) => claimed,
                Err(attempt) => self.with(|keys| self.acquire(keys, claim, attempt)),
            });
        }
        Ok(
            self.with(|keys| match self.look(keys.entries.get(&key), claim) {
                Ok(claimed) => claimed,
                Err(attempt) => self.acquire(keys, claim, attempt),
            }),
        )
    }

    async fn complete(
        &self,
        lease: &Lease,
        record: &Record,
        retention: Duration,
    ) -> Result<Completion, StoreError> {
        self.reach().await?;
        if self.has(Fault::CompletesInTwoSteps) {
            // The state first, the record later: a cut in between leaves a sealed key.
            let seal = Record::sealed(record.fingerprint());
            let completion = self.as_owner(lease, |entry| self.write(entry, &seal, retention));
            tokio::task::yield_now().await;
            if completion == Completion::Applied {
                self.as_owner(lease, |entry| {
                    entry.record = Some(record.clone());
                    Completion::Applied
                });
            }
            return Ok(completion);
        }
        let completion = self.as_owner(lease, |entry| self.write(entry, record, retention));
        let is_absent = completion == Completion::Lost(Standing::Absent);
        if is_absent && self.has(Fault::CompletesAnAbsentKey) {
            return Ok(Completion::Applied);
        }
        Ok(completion)
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.reach().await?;
        let completion = self.as_owner(lease, |entry| {
            if entry.record.is_some() && !self.has(Fault::ReleasesACompletedKey) {
                return Completion::Lost(self.standing(entry));
            }
            entry.expires = Instant::now();
            Completion::Applied
        });
        Ok(match completion {
            Completion::Lost(Standing::Absent)
                if !self.has(Fault::RefusesRepeatedRelease)
                    && !self.has(Fault::SaysLostWithoutSayingToWhom) =>
            {
                Completion::AlreadyApplied
            }
            completion => completion,
        })
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.reach().await?;
        let completion = self.as_owner(lease, |entry| {
            if entry.record.is_some() {
                return Completion::Lost(self.standing(entry));
            }
            if !self.has(Fault::IgnoresRenewal) {
                entry.lapses = Instant::now() + lease.duration();
                entry.expires = entry.lapses + entry.retention;
            }
            Completion::Applied
        });
        let is_absent = completion == Completion::Lost(Standing::Absent);
        if is_absent && self.has(Fault::RenewsAnAbsentKey) {
            return Ok(Completion::Applied);
        }
        Ok(completion)
    }

    async fn settled(&self, _: &RecordKey, _: Fence, limit: Duration) -> Result<(), StoreError> {
        self.reach().await?;
        let nap = match self.fault {
            Fault::SleepsUntilTheLimit => limit,
            Fault::SleepsBeyondTheLimit => limit.min(Duration::from_secs(1)) * 2,
            _ => limit.min(Duration::from_millis(20)),
        };
        sleep(nap).await;
        Ok(())
    }
}

/// Runs laws against a store with a fault, and says which of them it breaks.
macro_rules! broken_laws {
    ($fault:expr, [$($law:ident),* $(,)?]) => {{
        let mut broken = Vec::new();
        $({
            let store = Broken::new($fault);
            let law = async move { conformance::$law(&store).await };
            if tokio::spawn(law).await.is_err() {
                broken.push(stringify!($law));
            }
        })*
        broken
    }};
}

/// One test for each fault: all its laws fail, and they hold for the store without it.
macro_rules! faults {
    ($($test:ident: $fault:ident breaks [$($law:ident),+ $(,)?];)+) => {$(
        #[tokio::test(start_paused = true)]
        async fn $test() {
            silence_expected_panics();
            let holding = broken_laws!(Fault::None, [$($law),+]);
            assert!(holding.is_empty(), "without any fault: {holding:?}");
            let broken = broken_laws!(Fault::$fault, [$($law),+]);
            assert_eq!(broken, [$(stringify!($law)),+]);
        }
    )+};
}

/// Panics of the laws are the point here; those of the tests themselves are shown.
fn silence_expected_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let file = panic.location().map_or("", |location| location.file());
            if !file.contains("conformance") {
                show(panic);
            }
        }));
    });
}

faults! {
    never_grants_again: NeverGrantsAgain breaks [
        released_key_is_free,
        fence_never_restarts_after_release,
    ];
    treats_keys_alike_that_begin_alike: TreatsKeysAlikeThatBeginAlike breaks [keys_are_independent];
    grants_what_is_held: GrantsWhatIsHeld breaks [
        held_key_is_in_flight,
        lease_lapses_at_its_deadline,
        concurrent_claims_have_one_winner,
    ];
    forgets_the_token_of_a_resend: ForgetsTheTokenOfAResend breaks [
        resent_claim_gets_the_same_lease,
        cancelled_claim_leaves_no_half_state,
    ];
    ignores_the_fingerprint: IgnoresTheFingerprint breaks [
        other_fingerprint_is_a_mismatch_in_every_state,
    ];
    ignores_the_fingerprint_of_a_lapsed_key: IgnoresTheFingerprintOfALapsedKey breaks [
        other_fingerprint_is_a_mismatch_in_every_state,
        takeover_only_for_the_same_fingerprint,
    ];
    keeps_the_fence_on_takeover: KeepsTheFenceOnTakeover breaks [
        lapsed_lease_is_taken_over_with_a_higher_fence,
        each_takeover_raises_fence_and_attempt,
        concurrent_takeovers_have_one_winner,
    ];
    counts_no_attempts: CountsNoAttempts breaks [
        lapsed_lease_is_taken_over_with_a_higher_fence,
        each_takeover_raises_fence_and_attempt,
    ];
    forgets_to_hold: ForgetsToHold breaks [
        hold_mode_answers_unknown,
        hold_mode_is_the_choice_of_each_claim,
    ];
    holds_unasked: HoldsUnasked breaks [hold_mode_is_the_choice_of_each_claim];
    asks_for_the_fence_alone: AsksForTheFenceAlone breaks [fence_alone_proves_nothing];
    asks_for_the_token_alone: AsksForTheTokenAlone breaks [token_alone_proves_nothing];
    asks_for_nothing: AsksForNothing breaks [
        lost_lease_cannot_complete,
        lost_lease_cannot_release,
        lost_lease_cannot_renew,
        repeated_release_is_accepted,
        zombie_of_an_earlier_generation_is_refused,
    ];
    refuses_repeated_completion: RefusesRepeatedCompletion breaks [
        repeated_completion_is_accepted,
        concurrent_completions_of_the_owner_agree,
        cancelled_completion_leaves_no_half_state,
    ];
    overwrites_on_repeated_completion: OverwritesOnRepeatedCompletion breaks [
        repeated_completion_is_accepted,
    ];
    refuses_repeated_release: RefusesRepeatedRelease breaks [
        repeated_release_is_accepted,
        cancelled_release_leaves_no_half_state,
    ];
    completes_an_absent_key: CompletesAnAbsentKey breaks [
        completing_an_absent_key_is_refused,
        expired_key_is_as_if_never_seen,
        lapsed_key_is_kept_for_its_retention_and_no_longer,
    ];
    renews_an_absent_key: RenewsAnAbsentKey breaks [renewing_an_absent_key_is_refused];
    releases_a_completed_key: ReleasesACompletedKey breaks [
        completed_key_is_neither_released_nor_renewed,
    ];
    refuses_the_owner_after_a_lapse: RefusesTheOwnerAfterALapse breaks [
        owner_completes_after_a_lapse_nobody_noticed,
        owner_renews_after_a_lapse_nobody_noticed,
    ];
    says_lost_without_saying_to_whom: SaysLostWithoutSayingToWhom breaks [
        losing_says_what_stands_there_now,
    ];
    restarts_fences_after_release: RestartsFencesAfterRelease breaks [
        fence_never_restarts_after_release,
    ];
    restarts_fences_after_expiry: RestartsFencesAfterExpiry breaks [
        fence_never_restarts_after_completion_expired,
        fence_never_restarts_after_a_lapsed_key_expired,
    ];
    never_lapses: NeverLapses breaks [
        lease_lapses_at_its_deadline,
        lapsed_lease_is_taken_over_with_a_higher_fence,
        hold_mode_answers_unknown,
    ];
    ignores_renewal: IgnoresRenewal breaks [
        renewed_lease_outlives_its_first_deadline,
        owner_renews_after_a_lapse_nobody_noticed,
    ];
    counts_retention_from_the_claim: CountsRetentionFromTheClaim breaks [
        retention_starts_at_completion,
    ];
    tells_no_time_left: TellsNoTimeLeft breaks [retention_starts_at_completion];
    never_expires: NeverExpires breaks [
        expired_key_is_as_if_never_seen,
        lapsed_key_is_kept_for_its_retention_and_no_longer,
    ];
    forgets_lapsed_keys_at_once: ForgetsLapsedKeysAtOnce breaks [
        lapsed_key_is_kept_for_its_retention_and_no_longer,
        owner_completes_after_a_lapse_nobody_noticed,
    ];
    sleeps_until_the_limit: SleepsUntilTheLimit breaks [
        settled_wakes_on_completion,
        settled_wakes_on_release,
        settled_wakes_on_lapse,
        settled_wakes_on_takeover,
        settled_wakes_every_waiter,
        settled_does_not_wait_for_what_is_over,
    ];
    sleeps_beyond_the_limit: SleepsBeyondTheLimit breaks [settled_does_not_outsleep_the_limit];
    drops_repeated_headers: DropsRepeatedHeaders breaks [record_survives_byte_for_byte];
    drops_sealed_records: DropsSealedRecords breaks [sealed_record_survives];
    claims_in_two_steps: ClaimsInTwoSteps breaks [
        concurrent_claims_have_one_winner,
        concurrent_takeovers_have_one_winner,
    ];
    completes_in_two_steps: CompletesInTwoSteps breaks [
        cancelled_completion_leaves_no_half_state,
    ];
    promises_what_it_cannot_reach: PromisesWhatItCannotReach breaks [unreachable_store_says_so];
    hangs_where_it_cannot_reach: HangsWhereItCannotReach breaks [unreachable_store_says_so];
}
