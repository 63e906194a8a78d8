//! A server that answers by a script, and remembers what it was sent.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, Request, Response, request::Parts, response};
use tokio::time::Instant;
use tower::{BoxError, Service, service_fn};

/// What an attempt meets.
pub(crate) enum Met {
    Answer(response::Builder),
    Cut,
}

pub(crate) fn status(status: u16) -> Met {
    Met::Answer(Response::builder().status(status))
}

/// A status and one field, written `name: value`.
pub(crate) fn with(status: u16, field: &str) -> Met {
    let (name, value) = field.split_once(": ").unwrap();
    Met::Answer(Response::builder().status(status).header(name, value))
}

/// What came with one attempt.
pub(crate) struct Attempt<B> {
    pub(crate) at: Instant,
    pub(crate) head: Parts,
    pub(crate) body: B,
}

/// Clones are one server. When the script is over, it answers with 200.
pub(crate) struct Server<B = &'static str> {
    script: Arc<Mutex<VecDeque<Met>>>,
    attempts: Arc<Mutex<Vec<Attempt<B>>>>,
}

impl<B> Clone for Server<B> {
    fn clone(&self) -> Self {
        Self {
            script: Arc::clone(&self.script),
            attempts: Arc::clone(&self.attempts),
        }
    }
}

impl<B: Send + 'static> Server<B> {
    pub(crate) fn new(script: impl IntoIterator<Item = Met>) -> Self {
        Self {
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            attempts: Arc::default(),
        }
    }

    /// The server as the innermost service of a client.
    pub(crate) fn service(
        &self,
    ) -> impl Service<
        Request<B>,
        Response = Response<()>,
        Error = BoxError,
        Future = std::future::Ready<Result<Response<()>, BoxError>>,
    > + Clone
    + use<B> {
        let server = self.clone();
        service_fn(move |request| std::future::ready(server.meet(request)))
    }

    fn meet(&self, request: Request<B>) -> Result<Response<()>, BoxError> {
        let (head, body) = request.into_parts();
        let at = Instant::now();
        self.attempts
            .lock()
            .unwrap()
            .push(Attempt { at, head, body });
        match self.script.lock().unwrap().pop_front() {
            Some(Met::Answer(answer)) => Ok(answer.body(()).unwrap()),
            Some(Met::Cut) => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            None => Ok(Response::new(())),
        }
    }

    /// What was sent so far.
    pub(crate) fn attempts(&self) -> Vec<Attempt<B>> {
        std::mem::take(&mut self.attempts.lock().unwrap())
    }

    /// The header fields of what was sent so far.
    pub(crate) fn sent(&self) -> Vec<HeaderMap> {
        let attempts = self.attempts().into_iter();
        attempts.map(|attempt| attempt.head.headers).collect()
    }

    /// The keys that were sent so far, one for each attempt.
    pub(crate) fn keys(&self) -> Vec<String> {
        let key = |headers: HeaderMap| headers["idempotency-key"].to_str().unwrap().to_owned();
        self.sent().into_iter().map(key).collect()
    }

    /// How long it was between the attempts so far.
    pub(crate) fn waits(&self) -> Vec<Duration> {
        let at: Vec<_> = self.attempts().iter().map(|attempt| attempt.at).collect();
        at.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}
