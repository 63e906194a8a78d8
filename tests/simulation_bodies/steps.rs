//! A body that goes step by step: of a request, or of an answer.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::{chance::Chance, ledger::Body, world::World};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Clone)]
pub enum Step {
    Yield,
    Sleep(u64),
    Data(Bytes),
    Trailers(HeaderMap),
    Fail,
    Panic,
}

/// What it says of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    Unknown,
    Exact(u64),
    Panics,
}

/// Some pauses: of no time, of some, of much.
pub fn pauses(chance: &mut Chance) -> Vec<Step> {
    let some = chance.between(0, 3);
    (0..some).map(|_| pause(chance)).collect()
}

pub fn pause(chance: &mut Chance) -> Step {
    match chance.between(0, 5) {
        0..=2 => Step::Yield,
        3 => Step::Sleep(chance.between(0, 9)),
        4 => Step::Sleep(chance.between(0, 999)),
        _ => Step::Sleep(chance.between(0, 19_999)),
    }
}

/// All data of these steps.
pub fn bytes(steps: &[Step]) -> Vec<u8> {
    let data = steps.iter().map(|step| match step {
        Step::Data(data) => &**data,
        _ => &[],
    });
    data.collect::<Vec<_>>().concat()
}

pub fn size(steps: &[Step]) -> u64 {
    bytes(steps).len() as u64
}

pub struct Steps {
    steps: VecDeque<Step>,
    hint: Hint,
    left: u64,
    pause: Option<Pin<Box<Sleep>>>,
    /// Whose answer it is.
    run: Option<(Arc<World>, usize)>,
    drop_panics: bool,
}

impl Steps {
    pub fn new(steps: Vec<Step>, hint: Hint) -> Self {
        let left = match hint {
            Hint::Exact(size) => size,
            _ => 0,
        };
        Self {
            steps: steps.into(),
            hint,
            left,
            pause: None,
            run: None,
            drop_panics: false,
        }
    }

    pub fn of_run(mut self, world: Arc<World>, run: usize, drop_panics: bool) -> Self {
        self.run = Some((world, run));
        self.drop_panics = drop_panics;
        self.note(Body::Grows);
        self
    }

    /// Only the first end counts.
    fn note(&self, body: Body) {
        if let Some((world, number)) = &self.run {
            let state = &mut world.ledger().runs[*number].body;
            if matches!(state, Body::None | Body::Grows) {
                *state = body;
            }
        }
    }
}

impl HttpBody for Steps {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            return match self.steps.pop_front() {
                Some(Step::Yield) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Some(Step::Sleep(time)) => {
                    self.pause = Some(Box::pin(sleep(Duration::from_millis(time))));
                    continue;
                }
                Some(Step::Data(data)) => {
                    self.left = self.left.saturating_sub(data.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Some(Step::Trailers(trailers)) => {
                    self.note(Body::Ended);
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
                Some(Step::Fail) => {
                    self.note(Body::Failed);
                    Poll::Ready(Some(Err("scripted".into())))
                }
                Some(Step::Panic) => {
                    self.note(Body::Failed);
                    panic!("scripted")
                }
                None => {
                    self.note(Body::Ended);
                    Poll::Ready(None)
                }
            };
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.hint {
            Hint::Unknown => SizeHint::default(),
            Hint::Exact(_) => SizeHint::with_exact(self.left),
            Hint::Panics => panic!("scripted"),
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.note(Body::Dropped);
        if self.drop_panics && !thread::panicking() {
            panic!("scripted");
        }
    }
}
