use std::{collections::VecDeque, sync::Mutex};

use tokio::time::{Instant, advance};

use super::*;
use crate::{
    fingerprint::Fingerprint,
    store::{LeaseToken, Standing},
};

const KEY: RecordKey = RecordKey::from_bytes([7; 32]);
const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
const SECOND: Duration = Duration::from_secs(1);

/// What the store does with a call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Good,
    NotApplied,
    Unknown,
    Full,
    Corrupt,
    Silence,
}
use Answer::{Corrupt, Full, Good, NotApplied, Silence, Unknown};

/// A store that answers as the test says, and remembers the tokens it was sent.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<(VecDeque<Answer>, Vec<LeaseToken>)>>);

impl Scripted {
    fn says(answers: impl IntoIterator<Item = Answer>) -> Self {
        let scripted = Self::default();
        scripted.goes_on(answers);
        scripted
    }

    fn goes_on(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.lock().unwrap().0.extend(answers);
    }

    fn calls(&self) -> Vec<LeaseToken> {
        self.0.lock().unwrap().1.clone()
    }

    async fn call<T>(&self, token: LeaseToken, good: T) -> Result<T, StoreError> {
        let answer = {
            let (answers, calls) = &mut *self.0.lock().unwrap();
            calls.push(token);
            answers.pop_front().expect("no further call")
        };
        match answer {
            Good => Ok(good),
            NotApplied => Err(StoreError::not_applied("refused")),
            Unknown => Err(StoreError::unknown("lost")),
            Full => Err(StoreError::full()),
            Corrupt => Err(StoreError::corrupt("damaged")),
            Silence => std::future::pending().await,
        }
    }
}

impl Store for Scripted {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, StoreError> {
        self.call(claim.token(), Claimed::Mismatch).await
    }

    async fn complete(
        &self,
        lease: &Lease,
        _: &Record,
        _: Duration,
    ) -> Result<Completion, StoreError> {
        self.call(lease.token(), Completion::Applied).await
    }

    async fn release(&self, lease: &Lease) -> Result<Completion, StoreError> {
        let good = Completion::Lost(Standing::Absent);
        self.call(lease.token(), good).await
    }

    async fn renew(&self, lease: &Lease) -> Result<Completion, StoreError> {
        self.call(lease.token(), Completion::Applied).await
    }

    async fn settled(&self, _: &RecordKey, _: Fence, _: Duration) -> Result<(), StoreError> {
        self.call(LeaseToken::random(), ()).await
    }
}

async fn claim(store: &Resilient<Scripted>) -> Result<Claimed, StoreErrorKind> {
    let claim = Claim::new(&KEY, REQUEST);
    store.claim(&claim).await.map_err(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn every_verb_is_sent_again_as_it_was() {
    let scripted = Scripted::says([NotApplied, Unknown, Good].repeat(4));
    let store = Resilient::new(scripted.clone());
    let claim = Claim::new(&KEY, REQUEST);
    let lease = claim.won(Fence::new(1), 1);
    assert_eq!(store.claim(&claim).await.unwrap(), Claimed::Mismatch);
    let record = Record::sealed(REQUEST);
    for completion in [
        store.complete(&lease, &record, SECOND).await,
        store.renew(&lease).await,
    ] {
        assert_eq!(completion.unwrap(), Completion::Applied);
    }
    let lost = Completion::Lost(Standing::Absent);
    assert_eq!(store.release(&lease).await.unwrap(), lost);
    assert_eq!(scripted.calls(), [claim.token(); 12]);
}

#[tokio::test(start_paused = true)]
async fn after_its_retries_a_call_fails() {
    for (answers, kind) in [
        (vec![NotApplied; 3], StoreErrorKind::NotApplied),
        (vec![Unknown; 3], StoreErrorKind::Unknown),
        (vec![Full], StoreErrorKind::Full),
        (vec![Corrupt], StoreErrorKind::Corrupt),
        // The first may have been applied.
        (
            vec![Unknown, NotApplied, NotApplied],
            StoreErrorKind::Unknown,
        ),
        (vec![Unknown, Full], StoreErrorKind::Unknown),
        (vec![Unknown, Corrupt], StoreErrorKind::Corrupt),
        (
            vec![NotApplied, NotApplied, Unknown],
            StoreErrorKind::Unknown,
        ),
    ] {
        let scripted = Scripted::says(answers.clone());
        let store = Resilient::new(scripted.clone());
        assert_eq!(claim(&store).await, Err(kind), "{answers:?}");
        assert_eq!(scripted.calls().len(), answers.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_silent_is_given_up_at_the_deadline() {
    let store = Resilient::new(Scripted::says([Silence; 3])).deadline(SECOND);
    let start = Instant::now();
    assert_eq!(claim(&store).await, Err(StoreErrorKind::Unknown));
    let pauses = start.elapsed() - SECOND * 3;
    // 20 ms and 40 ms, less up to half.
    let pauses = pauses.as_millis();
    assert!((30..=62).contains(&pauses), "{pauses} ms");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_left_alone_and_found_again() {
    let scripted = Scripted::says([NotApplied; 5]);
    let store = Resilient::new(scripted.clone()).opens_after(5);
    for _ in 0..2 {
        assert_eq!(claim(&store).await, Err(StoreErrorKind::NotApplied));
    }
    assert!(store.is_open());
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(claim(&store.clone()).await, Err(StoreErrorKind::NotApplied));
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "fails at once");
    assert_eq!(scripted.calls().len(), 5);

    advance(SECOND).await;
    scripted.goes_on([NotApplied]);
    assert_eq!(claim(&store).await, Err(StoreErrorKind::NotApplied));
    assert_eq!(scripted.calls().len(), 6, "a probe is not repeated");

    advance(SECOND).await;
    scripted.goes_on([Good; 3]);
    for _ in 0..3 {
        assert_eq!(claim(&store).await, Ok(Claimed::Mismatch));
    }
    assert!(!store.is_open());
}

#[tokio::test(start_paused = true)]
async fn one_that_never_probes_stays_open() {
    let scripted = Scripted::says([NotApplied]);
    let store = Resilient::new(scripted.clone()).opens_after(1);
    let store = store.probes_after(Duration::MAX);
    assert_eq!(claim(&store).await, Err(StoreErrorKind::NotApplied));
    advance(SECOND * 3600 * 24 * 365).await;
    assert_eq!(claim(&store).await, Err(StoreErrorKind::NotApplied));
    assert_eq!(scripted.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_an_answer_is_waited_for() {
    let store = Resilient::new(Scripted::says([Good])).deadline(Duration::MAX);
    assert_eq!(claim(&store).await, Ok(Claimed::Mismatch));
}

#[tokio::test(start_paused = true)]
async fn answers_do_not_open_it() {
    let store = Resilient::new(Scripted::says([Full, Corrupt].repeat(10))).opens_after(3);
    for _ in 0..10 {
        assert_eq!(claim(&store).await, Err(StoreErrorKind::Full));
        assert_eq!(claim(&store).await, Err(StoreErrorKind::Corrupt));
    }
    assert!(!store.is_open());
}

/// What may have been applied stays in doubt, also if the breaker opens in between.
#[tokio::test(start_paused = true)]
async fn a_call_in_doubt_stays_in_doubt_when_it_opens() {
    let store = Resilient::new(Scripted::says([Unknown, NotApplied])).opens_after(2);
    assert_eq!(claim(&store).await, Err(StoreErrorKind::Unknown));
    assert_eq!(claim(&store).await, Err(StoreErrorKind::NotApplied));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_limit_and_fails_while_the_store_is_down() {
    let scripted = Scripted::says([Silence, Good]);
    let store = Resilient::new(scripted.clone()).opens_after(1);
    let start = Instant::now();
    let fence = Fence::new(1);
    store.settled(&KEY, fence, SECOND * 7).await.unwrap();
    assert_eq!(start.elapsed(), SECOND * 7);
    store.settled(&KEY, fence, SECOND * 7).await.unwrap();
    assert_eq!(start.elapsed(), SECOND * 7);
    scripted.goes_on([NotApplied]);
    claim(&store).await.unwrap_err();
    let error = store.settled(&KEY, fence, SECOND).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotApplied);
}
