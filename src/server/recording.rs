//! A response body that is recorded while it is read.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::BoxError;
use crate::frames::Frames;

/// A response body as far as it has come. The pump writes it, the client reads it at its
/// own pace; within the limit neither waits for the other. What comes beyond the limit is
/// handed over frame by frame and forgotten.
pub(super) struct Recording(Mutex<State>);

struct State {
    frames: Frames,
    /// What came beyond the limit and was not read yet.
    beyond: VecDeque<Bytes>,
    end: Option<End>,
    reader: Waiting,
    pump: Option<Waker>,
}

enum Waiting {
    Reader(Option<Waker>),
    Gone,
}

/// How a body ended for its reader.
pub(super) enum End {
    /// Whole, with these trailers.
    Whole(Option<HeaderMap>),
    /// With an error.
    Failed(BoxError),
    /// Told already.
    Told,
}

impl Recording {
    /// A recording that begins with `frames`, and its reader.
    pub(super) fn new(frames: Frames) -> (Arc<Self>, Reader) {
        let recording = Arc::new(Self(Mutex::new(State {
            frames,
            beyond: VecDeque::new(),
            end: None,
            reader: Waiting::Reader(None),
            pump: None,
        })));
        let reader = Reader {
            recording: Arc::clone(&recording),
            cursor: Cursor::default(),
        };
        (recording, reader)
    }

    /// Adds a frame within the limit.
    pub(super) fn push(&self, frame: Bytes) {
        let mut state = self.lock();
        state.frames.push(frame);
        state.wake_reader();
    }

    /// Hands a frame beyond the limit over.
    pub(super) fn push_beyond(&self, frame: Bytes) {
        let mut state = self.lock();
        if !frame.is_empty() {
            state.beyond.push_back(frame);
        }
        state.wake_reader();
    }

    /// Waits until the reader has taken what lies beyond the limit; `false` if it is gone.
    pub(super) async fn taken(&self) -> bool {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            match state.reader {
                Waiting::Gone => Poll::Ready(false),
                Waiting::Reader(_) if state.beyond.is_empty() => Poll::Ready(true),
                Waiting::Reader(_) => {
                    state.pump = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Ends the body. Only the first end counts.
    pub(super) fn finish(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        state.wake_reader();
    }

    /// The frames within the limit.
    pub(super) fn frames(&self) -> Frames {
        self.lock().frames.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_reader(&mut self) {
        if let Waiting::Reader(waker) = &mut self.reader {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }
}

/// Reads a recording from its first byte, and then as it grows.
pub(super) struct Reader {
    recording: Arc<Recording>,
    cursor: Cursor,
}

impl Reader {
    pub(super) fn poll_frame(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.recording.lock();
        if let Some(frame) = self.cursor.next(&state.frames) {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if let Some(frame) = state.beyond.pop_front() {
            if let Some(pump) = state.pump.take() {
                pump.wake();
            }
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        match state.end.replace(End::Told) {
            Some(End::Whole(trailers)) => {
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(End::Failed(error)) => Poll::Ready(Some(Err(error))),
            Some(End::Told) => Poll::Ready(None),
            None => {
                state.end = None;
                state.reader = Waiting::Reader(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.recording.lock();
        let read = self.cursor.read == state.frames.bytes() && state.beyond.is_empty();
        read && matches!(state.end, Some(End::Whole(None) | End::Told))
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
        let mut state = self.recording.lock();
        state.reader = Waiting::Gone;
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
