use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{join, poll_immediate};
use http::Response;

use super::*;
use crate::{
    fingerprint::Fingerprint,
    record::Record,
    record_key::RecordKey,
    store::{
        Claim, Claimed, Completion, Lease, Slot, StoreErrorKind,
        sqlite::open::{Settings, open},
    },
};

const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
const ONE: RecordKey = RecordKey::from_bytes([1; 32]);
const TWO: RecordKey = RecordKey::from_bytes([2; 32]);
const THREE: RecordKey = RecordKey::from_bytes([3; 32]);

/// A worker whose transactions a test begins, and what is queued for it.
struct Bench {
    directory: PathBuf,
    worker: Worker,
    queue: Queue,
    jobs: Receiver<Job>,
}

impl Bench {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Relaxed));
        let name = format!("tower-idempotency-worker-{process}-{number}");
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let settings = Settings {
            busy_timeout: Duration::ZERO,
            sync_each_commit: false,
        };
        let (sender, jobs) = mpsc::channel();
        Self {
            worker: Worker {
                connection: open(&directory.join("keys.db"), settings).unwrap(),
                clock: Arc::new(Clock::new()),
                waiters: Arc::default(),
                role: Role::Writer,
            },
            directory,
            queue: Queue(sender),
            jobs,
        }
    }

    /// What becomes of two verbs that share a transaction.
    async fn both<A, B>(
        &self,
        one: impl Future<Output = A>,
        two: impl Future<Output = B>,
    ) -> (A, B) {
        let mut both = std::pin::pin!(join(one, two));
        assert!(poll_immediate(&mut both).await.is_none(), "only queued");
        self.worker.transact(self.jobs.try_iter().collect());
        both.await
    }

    async fn claim(&self, key: RecordKey) -> Result<Claimed, StoreError> {
        let claim = Claim::new(&key, REQUEST).owned();
        let claim = move |slot: &mut Slot, fence, now| slot.claim(&claim.as_claim(), fence, now);
        self.queue
            .run(move |session| session.step(&key, claim))
            .await
    }

    /// The first of two leases.
    async fn acquire_two(&self) -> Lease {
        match self.both(self.claim(ONE), self.claim(TWO)).await.0 {
            Ok(Claimed::Acquired(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    async fn complete(&self, lease: &Lease, bytes: usize) -> Result<Completion, StoreError> {
        let lease = lease.clone();
        let record = Record::answer(REQUEST, &Response::new(Bytes::from(vec![7; bytes])));
        let (key, hour) = (*lease.key(), Duration::from_secs(3600));
        let complete = move |slot: &mut Slot, _, now| slot.complete(&lease, &record, hour, now);
        self.queue
            .run(move |session| session.step(&key, complete))
            .await
    }

    /// Leaves room for so many more pages.
    fn leave(&self, pages: i64) {
        let connection = &self.worker.connection;
        let count: i64 = connection
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        let most = count + pages;
        connection
            .query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(()))
            .unwrap();
    }

    fn count(&self) -> i64 {
        let count = "SELECT count(*) FROM idempotency_keys";
        let connection = &self.worker.connection;
        connection.query_row(count, [], |row| row.get(0)).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// SQLite then takes the whole transaction back, and would commit what follows at once.
#[tokio::test]
async fn verbs_behind_one_that_fills_the_disk_are_not_said_to_be_undone() {
    let bench = Bench::new();
    let lease = bench.acquire_two().await;
    bench.leave(4);
    let large = bench.complete(&lease, 1 << 20);
    let (large, small) = bench.both(large, bench.claim(THREE)).await;
    assert_eq!(large.unwrap_err().kind(), StoreErrorKind::Full);
    assert!(matches!(small, Ok(Claimed::Acquired(_))), "{small:?}");
    assert_eq!(bench.count(), 3);
}

#[tokio::test]
async fn verbs_before_one_that_fills_the_disk_are_undone_and_said_to_be() {
    let bench = Bench::new();
    let lease = bench.acquire_two().await;
    bench.leave(4);
    let large = bench.complete(&lease, 1 << 20);
    let (small, large) = bench.both(bench.claim(THREE), large).await;
    assert_eq!(small.unwrap_err().kind(), StoreErrorKind::NotApplied);
    assert_eq!(large.unwrap_err().kind(), StoreErrorKind::Full);
    assert_eq!(bench.count(), 2);
}
