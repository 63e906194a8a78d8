//! Order without sleeping.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};

/// Stops whoever passes until it is opened, and tells when somebody has come.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    came: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self {
            came: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    pub(crate) async fn pass(&self) {
        self.came.add_permits(1);
        drop(self.open.acquire().await.unwrap());
    }

    /// Returns once for each that has come.
    pub(crate) async fn somebody_came(&self) {
        soon(self.came.acquire()).await.unwrap().forget();
    }

    /// From now on everybody passes.
    pub(crate) fn open(&self) {
        self.open.add_permits(1);
    }
}

/// How often a handler ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Arc<AtomicUsize>);

impl Runs {
    /// One more; how many it is now.
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Turns a hang into a failure.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    match timeout(Duration::from_secs(30), future).await {
        Ok(output) => output,
        Err(_) => panic!("this should have happened long ago"),
    }
}
