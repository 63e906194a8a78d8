//! The threads that talk to the file.
//!
//! Verbs that are queued while a transaction is under way share the next one, and are
//! answered when that is committed: the disk is waited for once for all of them.

use std::{
    io, iter,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread, vec,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{clock::Clock, failure::Failure, session::Session, waiters::Waiters};
use crate::store::StoreError;

/// What is to be done in a transaction, or why there is none.
type Job = Box<dyn FnOnce(Result<&mut Session<'_>, StoreError>) -> Reply + Send>;

/// Answers the caller, once it is known what became of the transaction.
type Reply = Box<dyn FnOnce(Result<(), StoreError>)>;

/// The way to a thread. The thread ends with the last of them.
pub(super) struct Queue(Sender<Job>);

impl Queue {
    /// Does `work` in a transaction. Dropped before that begins, it does nothing; dropped
    /// later, it does all.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |session| {
            if reply.is_closed() {
                return Box::new(|_| {});
            }
            let result = session.and_then(work);
            Box::new(move |committed| {
                // What failed by itself left nothing to commit. Who left does not hear of it.
                let _ = reply.send(result.and_then(|done| committed.map(|()| done)));
            })
        });
        let ended = "the thread of the store has ended";
        self.0
            .send(job)
            .map_err(|_| StoreError::not_applied(ended))?;
        answer.await.map_err(|_| StoreError::unknown(ended))?
    }
}

/// A connection, and who uses it.
pub(super) struct Worker {
    pub(super) connection: Connection,
    pub(super) clock: Arc<Clock>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) role: Role,
}

pub(super) enum Role {
    /// Sees what was committed last, and writes nothing.
    Reader,
    /// Waits for the writers of other processes, and keeps them waiting.
    Writer,
}

/// How many share a transaction.
const MOST_JOBS: usize = 128;

impl Worker {
    pub(super) fn spawn(self) -> io::Result<Queue> {
        let (queue, jobs) = mpsc::channel();
        thread::Builder::new()
            .name("idempotency-sqlite".to_owned())
            .spawn(move || self.work(&jobs))?;
        Ok(Queue(queue))
    }

    fn work(self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let more = jobs.try_iter().take(MOST_JOBS - 1);
            self.transact(iter::once(first).chain(more).collect());
        }
    }

    fn transact(&self, jobs: Vec<Job>) {
        let mut jobs = jobs.into_iter();
        while jobs.len() > 0 {
            self.transact_some(&mut jobs);
        }
    }

    /// One transaction for all that are left; or for some, if one of them takes it back.
    fn transact_some(&self, jobs: &mut vec::IntoIter<Job>) {
        let mut session = match self.begin() {
            Ok(session) => session,
            Err(error) => {
                let failure = Failure::before_commit(&error);
                self.roll_back();
                return jobs.for_each(|job| job(Err(failure.to_error()))(Ok(())));
            }
        };
        let mut replies: Vec<Reply> = Vec::with_capacity(jobs.len());
        for job in jobs {
            replies.push(job(Ok(&mut session)));
            // What came now would be committed at once, statement by statement.
            if self.is_rolled_back() {
                break;
            }
        }
        let committed = self.commit(session);
        for reply in replies {
            reply(committed.as_ref().map(drop).map_err(Failure::to_error));
        }
    }

    fn begin(&self) -> rusqlite::Result<Session<'_>> {
        self.connection.execute_batch(match self.role {
            Role::Reader => "BEGIN",
            Role::Writer => "BEGIN IMMEDIATE",
        })?;
        Session::begin(&self.connection, &self.clock)
    }

    fn commit(&self, session: Session<'_>) -> Result<(), Failure> {
        if self.is_rolled_back() {
            return Err(Failure::NotApplied("rolled back".to_owned()));
        }
        let ended = session.end().map_err(|error| {
            self.roll_back();
            Failure::before_commit(&error)
        })?;
        self.connection.execute_batch("COMMIT").map_err(|error| {
            self.roll_back();
            Failure::at_commit(&error)
        })?;
        ended.iter().for_each(|key| self.waiters.wake(key));
        Ok(())
    }

    /// A connection that cannot even do that fails at its next transaction.
    fn roll_back(&self) {
        if !self.is_rolled_back() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// A full disk, or one that fails, makes a statement take back all that was before it.
    fn is_rolled_back(&self) -> bool {
        self.connection.is_autocommit()
    }
}

#[cfg(test)]
mod tests;
