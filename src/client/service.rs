//! The service that gives requests their keys.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::BoxError;
use tower_service::Service;

use super::{layer::Config, make_key::KeyError};
use crate::key::Key;

/// Made by [`SetIdempotencyKeyLayer`](super::SetIdempotencyKeyLayer).
#[derive(Clone)]
pub struct SetIdempotencyKey<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> SetIdempotencyKey<S> {
    pub(super) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }

    /// The service inside.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, R> Service<Request<B>> for SetIdempotencyKey<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let state = match self.config.give_key(&mut parts) {
            Ok(key) => {
                let inner = self.inner.call(Request::from_parts(parts, body));
                State::Sent { inner, key }
            }
            Err(error) => State::NotSent { error: Some(error) },
        };
        ResponseFuture { state }
    }
}

impl<S: fmt::Debug> fmt::Debug for SetIdempotencyKey<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetIdempotencyKey")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The response, with its [`Key`](crate::Key) among the extensions.
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        NotSent { error: Option<KeyError> },
        Sent { #[pin] inner: F, key: Option<Key> },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<R>, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Sent { inner, key } => {
                let mut response = ready!(inner.poll(context)).map_err(Into::into)?;
                if let Some(key) = key.take() {
                    response.extensions_mut().insert(key);
                }
                Poll::Ready(Ok(response))
            }
            StateProjection::NotSent { error } => match error.take() {
                Some(error) => Poll::Ready(Err(error.into())),
                None => Poll::Pending,
            },
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
