//! What an operation notes of itself.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tower_idempotency::{Idempotency, server::Unkept, store::Lease};

use super::{
    handler::Tag,
    ledger::{Outcome, Run},
    node::{Clock, World},
    settings::LARGE,
    transaction::Transaction,
};

/// The log of one run.
pub struct Log {
    pub world: World,
    clock: Arc<Clock>,
    operation: Idempotency,
    run: usize,
}

impl Log {
    pub fn begin(world: World, clock: Arc<Clock>, tag: Tag, operation: Idempotency) -> Self {
        let (fence, attempt) = (operation.fence().get(), operation.attempt());
        let start = clock.now();
        let run = {
            let mut network = world.lock();
            let runs = &mut network.ledger.runs;
            let run = runs.len();
            runs.push(Run {
                key: tag.key,
                fence,
                attempt,
                life: tag.life,
                request: tag.request,
                start,
                watched: None,
                lost: None,
                end: None,
                cut: None,
                body: format!("k{} v{} f{fence} q{}", tag.key, tag.variant, tag.request),
                live: false,
                status: 200,
                fails: false,
                keeps: tag.settings.retention,
                attaches: false,
            });
            network.say(start, || {
                format!("life {} RUNS {tag:?} f{fence} a{attempt}", tag.life)
            });
            run
        };
        Self {
            world,
            clock,
            operation,
            run,
        }
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut Run, u64) -> T) -> T {
        let now = self.clock.now();
        change(&mut self.world.lock().ledger.runs[self.run], now)
    }

    /// Leaves this for the store, unless it runs unprotected.
    pub fn attach(&self, transaction: Transaction) {
        if self.operation.fence().get() > 0 {
            let lease: &Lease = self.operation.as_ref();
            lease.attach(Arc::new(transaction)).unwrap();
            self.change(|run, _| run.attaches = true);
        }
    }

    /// Works for so many milliseconds, and watches whether the lease is lost; whether it `heeds`
    /// that, and ends.
    pub async fn works(&self, takes: u64, heeds: bool) -> bool {
        let work = sleep(Duration::from_millis(takes));
        tokio::pin!(work);
        // What becomes of the lease of an operation that is settled is not told.
        let is_told = |run: &mut Run, _| run.lost.is_some() || run.end.is_some();
        if self.change(is_told) {
            work.await;
            return false;
        }
        tokio::select! {
            biased;
            () = self.operation.lease_lost() => {
                self.change(|run, now| run.lost = Some(now));
                if !heeds {
                    work.await;
                }
                heeds
            }
            () = &mut work => {
                self.change(|run, now| run.watched = Some(now));
                false
            }
        }
    }

    pub fn end(&self, outcome: Outcome) {
        self.change(|run, now| run.end = Some((now, outcome)));
        let network = self.world.lock();
        let run = &network.ledger.runs[self.run];
        network.say(self.clock.now(), || {
            format!("life {} ENDS f{} {outcome:?}", run.life, run.fence)
        });
    }

    pub fn unkept(&self, unkept: Unkept) -> Outcome {
        match unkept {
            // What its answer tells of must have happened.
            Unkept::DangerRelease if !self.change(|run, _| run.attaches) => Outcome::Release,
            _ => Outcome::Seal,
        }
    }

    /// Has a large answer.
    pub fn swell(&self) {
        let large = usize::try_from(LARGE).unwrap();
        self.change(|run, _| run.body = format!("{:-<large$}", run.body));
    }

    pub fn body(&self) -> String {
        self.change(|run, _| run.body.clone())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.change(|run, now| {
            if run.end.is_none() {
                run.cut = Some(now);
            }
        });
    }
}
