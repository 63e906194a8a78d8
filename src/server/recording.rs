//! A response body that is recorded while it is read.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;

use super::BoxError;
use crate::{fields::Fields, frames::Frames};

/// An answer whose body still grows, for those who join it.
#[derive(Debug)]
pub(super) struct LiveAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: Fields,
    /// The trailers that were announced, which are for each message anew.
    pub(super) announced: Vec<HeaderValue>,
    pub(super) recording: Arc<Recording>,
}

/// A response body as far as it has come. The pump writes it, its readers read it, each at
/// its own pace; within the limit nobody waits for anybody. What comes beyond the limit is
/// handed to the first reader frame by frame, and forgotten.
pub(super) struct Recording(Mutex<State>);

struct State {
    frames: Frames,
    /// What came beyond the limit and was not read yet.
    beyond: VecDeque<Bytes>,
    is_over_limit: bool,
    end: Option<End>,
    first: First,
    /// How many readers there were.
    readers: u64,
    /// Who of them waits for more.
    waiting: HashMap<u64, Waker>,
    pump: Option<Waker>,
}

/// The reader for whom the request was executed.
#[derive(PartialEq)]
enum First {
    Reads,
    Gone,
}

/// How a body ended.
pub(super) enum End {
    /// Whole, with these trailers, and for who joined with what is kept of them.
    Whole {
        trailers: Option<HeaderMap>,
        kept: Option<HeaderMap>,
    },
    /// Whole, but the store has no record of it: a replay it must not be.
    Unrecorded(Option<HeaderMap>),
    /// With an error, which only one reader can be given.
    Failed(Option<BoxError>),
}

impl End {
    pub(super) fn failed(error: impl Into<BoxError>) -> Self {
        Self::Failed(Some(error.into()))
    }
}

/// The answer this request joined cannot be followed to its end: it failed, grew beyond what
/// is kept, lost its lease, or could not be recorded.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the response that was joined broke off")]
#[non_exhaustive]
pub struct BrokeOff;

impl Recording {
    /// A recording that begins with `frames`, and its first reader.
    pub(super) fn new(frames: Frames) -> (Arc<Self>, Reader) {
        let recording = Arc::new(Self(Mutex::new(State {
            frames,
            beyond: VecDeque::new(),
            is_over_limit: false,
            end: None,
            first: First::Reads,
            readers: 0,
            waiting: HashMap::new(),
            pump: None,
        })));
        let reader = Reader::new(&recording, Role::First);
        (recording, reader)
    }

    /// One more reader, from the first byte.
    pub(super) fn join(self: &Arc<Self>) -> Reader {
        Reader::new(self, Role::Joined)
    }

    /// Adds a frame within the limit.
    pub(super) fn push(&self, frame: Bytes) {
        self.change(|state| state.frames.push(frame));
    }

    /// Hands a frame beyond the limit to the first reader.
    pub(super) fn push_beyond(&self, frame: Bytes) {
        self.change(|state| {
            state.is_over_limit = true;
            if !frame.is_empty() && state.first == First::Reads {
                state.beyond.push_back(frame);
            }
        });
    }

    /// Waits until the first reader has taken what lies beyond the limit; `false` if it is
    /// gone.
    pub(super) async fn taken(&self) -> bool {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.first == First::Gone {
                return Poll::Ready(false);
            }
            if state.beyond.is_empty() {
                return Poll::Ready(true);
            }
            state.pump = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Ends the body. Only the first end counts.
    pub(super) fn finish(&self, end: End) {
        self.change(|state| {
            state.end.get_or_insert(end);
        });
    }

    /// The frames within the limit.
    pub(super) fn frames(&self) -> Frames {
        self.lock().frames.clone()
    }

    /// Changes the state and wakes its readers, outside of the lock.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waiting: Vec<_> = state.waiting.drain().map(|(_, waker)| waker).collect();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

/// Reads a recording from its first byte, and then as it grows.
pub(super) struct Reader {
    recording: Arc<Recording>,
    number: u64,
    cursor: Cursor,
    role: Role,
    /// Whether the end was told.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// The one for whom the request was executed.
    First,
    Joined,
}

impl Reader {
    fn new(recording: &Arc<Recording>, role: Role) -> Self {
        let number = {
            let mut state = recording.lock();
            state.readers += 1;
            state.readers
        };
        Self {
            recording: Arc::clone(recording),
            number,
            cursor: Cursor::default(),
            role,
            ended: false,
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // As in `drop`.
        let _replaced;
        let mut state = self.recording.lock();
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(frame) = self.cursor.next(&state.frames) {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if let Some(frame) = state.next_beyond(self.role) {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        let Poll::Ready(last) = state.last(self.role) else {
            _replaced = state.waiting.insert(self.number, cx.waker().clone());
            return Poll::Pending;
        };
        self.ended = true;
        Poll::Ready(last)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.recording.lock();
        let read = self.cursor.read == state.frames.bytes() && state.beyond.is_empty();
        self.ended
            || (read
                && !state.is_over_limit
                && matches!(state.end, Some(End::Whole { trailers: None, .. })))
    }
}

impl State {
    fn next_beyond(&mut self, role: Role) -> Option<Bytes> {
        if role == Role::Joined {
            return None;
        }
        let frame = self.beyond.pop_front()?;
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
        Some(frame)
    }

    /// What a reader that has read everything is told, once the end is there.
    fn last(&mut self, role: Role) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if role == Role::Joined && self.is_over_limit {
            return Poll::Ready(Some(Err(BrokeOff.into())));
        }
        Poll::Ready(match (self.end.as_mut(), role) {
            (None, _) => return Poll::Pending,
            (Some(End::Whole { trailers, .. } | End::Unrecorded(trailers)), Role::First)
            | (Some(End::Whole { kept: trailers, .. }), Role::Joined) => {
                trailers.clone().map(Frame::trailers).map(Ok)
            }
            (Some(End::Failed(error)), Role::First) => error.take().map(Err),
            (Some(End::Unrecorded(_) | End::Failed(_)), Role::Joined) => Some(Err(BrokeOff.into())),
        })
    }
}

/// How far a reader has come. The last of the frames may still grow at its end.
#[derive(Default)]
struct Cursor {
    frame: usize,
    within: usize,
    read: u64,
}

impl Cursor {
    /// What has come since, up to the end of a frame.
    fn next(&mut self, frames: &Frames) -> Option<Bytes> {
        loop {
            let frame = frames.as_slice().get(self.frame)?;
            if self.within < frame.len() {
                let rest = frame.slice(self.within..);
                self.within = frame.len();
                self.read += rest.len() as u64;
                return Some(rest);
            }
            // Not past the last frame: it is where the next bytes may come to stand.
            frames.as_slice().get(self.frame + 1)?;
            (self.frame, self.within) = (self.frame + 1, 0);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Dropping it may run code of others: declared first, it goes when the lock is free.
        let _waker;
        let mut state = self.recording.lock();
        _waker = state.waiting.remove(&self.number);
        if self.role == Role::Joined {
            return;
        }
        state.first = First::Gone;
        state.beyond.clear();
        if let Some(pump) = state.pump.take() {
            pump.wake();
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("read", &self.cursor.read)
            .finish_non_exhaustive()
    }
}
