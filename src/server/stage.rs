//! One stage after the other, in the room of the largest.
//!
//! An `async fn` that awaits one future after the other keeps room for whatever it was
//! given until its end, and for each argument of what it awaits twice. A keyed request
//! would be twice as large.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

/// A part of a way, with all that comes after it. What is `carried` along is at hand from
/// one stage to the next, and is not moved with them.
pub(super) trait Stage<C> {
    type Output;

    fn poll(self: Pin<&mut Self>, carried: &mut C, cx: &mut Context<'_>) -> Poll<Self::Output>;
}

/// How a way goes on after a stage.
pub(super) enum Next<B, T> {
    /// With the next stage.
    On(B),
    /// In a way that is rare, and would make room for itself in every request.
    Aside(Pin<Box<dyn Future<Output = T> + Send>>),
    /// Not at all.
    Done(T),
}

pin_project! {
    /// A way in stages.
    #[must_use = "futures do nothing unless polled"]
    pub(super) struct Way<C, A> {
        carried: C,
        #[pin]
        stage: A,
    }
}

impl<C, A> Way<C, A> {
    pub(super) fn new(carried: C, stage: A) -> Self {
        Self { carried, stage }
    }

    pub(super) fn carried(self: Pin<&Self>) -> &C {
        self.project_ref().carried
    }
}

impl<C, A: Stage<C>> Future for Way<C, A> {
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A::Output> {
        let this = self.project();
        this.stage.poll(this.carried, cx)
    }
}

/// Awaits `future`, and goes on as `next` makes of its output.
pub(super) fn then<C, F, N, B, T>(future: F, next: N) -> Then<F, N, B, T>
where
    F: Future,
    N: FnOnce(&mut C, F::Output) -> Next<B, T>,
    B: Stage<C, Output = T>,
{
    let next = Some(next);
    Then::First { future, next }
}

pin_project! {
    /// See [`then`].
    #[project = ThenProj]
    pub(super) enum Then<F, N, B, T> {
        First { #[pin] future: F, next: Option<N> },
        Second { #[pin] stage: B },
        Aside { future: Pin<Box<dyn Future<Output = T> + Send>> },
    }
}

impl<C, F, N, B, T> Stage<C> for Then<F, N, B, T>
where
    F: Future,
    N: FnOnce(&mut C, F::Output) -> Next<B, T>,
    B: Stage<C, Output = T>,
{
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, carried: &mut C, cx: &mut Context<'_>) -> Poll<T> {
        loop {
            let (output, next) = match self.as_mut().project() {
                ThenProj::First { future, next } => (ready!(future.poll(cx)), next.take()),
                ThenProj::Second { stage } => return stage.poll(carried, cx),
                ThenProj::Aside { future } => return future.as_mut().poll(cx),
            };
            let next = next.unwrap_or_else(|| unreachable!("polled after completion"));
            match next(carried, output) {
                Next::On(stage) => self.set(Then::Second { stage }),
                Next::Aside(future) => self.set(Then::Aside { future }),
                Next::Done(output) => return Poll::Ready(output),
            }
        }
    }
}

/// Awaits `future`; what `finish` makes of its output ends the way.
pub(super) fn last<C, F, N, T>(future: F, finish: N) -> Last<F, N>
where
    F: Future,
    N: FnOnce(&mut C, F::Output) -> T,
{
    let finish = Some(finish);
    Last { future, finish }
}

pin_project! {
    /// See [`last`].
    pub(super) struct Last<F, N> {
        #[pin]
        future: F,
        finish: Option<N>,
    }
}

impl<C, F, N, T> Stage<C> for Last<F, N>
where
    F: Future,
    N: FnOnce(&mut C, F::Output) -> T,
{
    type Output = T;

    fn poll(self: Pin<&mut Self>, carried: &mut C, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.project();
        let output = ready!(this.future.poll(cx));
        let finish = this.finish.take();
        let finish = finish.unwrap_or_else(|| unreachable!("polled after completion"));
        Poll::Ready(finish(carried, output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use tokio::sync::oneshot;

    /// Adds to what is carried, stage by stage; aside from 10 on, and no further from 100 on.
    fn adding(first: impl Future<Output = u32>) -> impl Stage<u32, Output = u32> {
        then(first, |carried: &mut u32, output| {
            *carried += output;
            match *carried {
                100.. => Next::Done(0),
                10.. => Next::Aside(Box::pin(ready(*carried))),
                sum => Next::On(last(ready(sum), |_, sum| sum)),
            }
        })
    }

    #[tokio::test]
    async fn each_stage_tells_how_to_go_on() {
        assert_eq!(Way::new(1, adding(ready(2))).await, 3);
        assert_eq!(Way::new(1, adding(ready(20))).await, 21);
        assert_eq!(Way::new(1, adding(ready(200))).await, 0);
    }

    #[tokio::test]
    async fn a_stage_that_is_pending_is_polled_again() {
        let (sender, receiver) = oneshot::channel();
        let first = async { receiver.await.unwrap() };
        let (sum, ()) = tokio::join!(Way::new(1, adding(first)), async {
            tokio::task::yield_now().await;
            sender.send(2).unwrap();
        });
        assert_eq!(sum, 3);
    }

    #[tokio::test]
    async fn a_stage_that_is_over_is_dropped_with_all_it_held() {
        let (held, freed) = oneshot::channel::<()>();
        let first = async move {
            let _held = held;
        };
        let way = then(first, |(): &mut (), ()| {
            let next: Next<_, ()> = Next::On(last(pending(), |(), ()| ()));
            next
        });
        let way = Way::new((), way);
        tokio::select! {
            () = way => unreachable!("it never ends"),
            freed = freed => assert!(freed.is_err()),
        }
    }
}
