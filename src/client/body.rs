//! Bodies that can be sent again.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use pin_project_lite::pin_project;

/// A body that can perhaps be sent again.
///
/// Each body that is [`Clone`] can: `Full<Bytes>`, `Bytes`, `String`. A stream cannot, and
/// does not go through an [`IdempotentRetry`](crate::client::IdempotentRetry) as it is:
/// [`BufferedBody`] holds what is short and lets through what is long. **So must be wrapped what
/// is [`Clone`] and shares what it yields with its clones,** as the receivers of some channels do:
/// a retry would send what the first attempt left.
pub trait TryCloneBody: Sized {
    /// The same body once more; `None` if it can be sent only once.
    fn try_clone(&self) -> Option<Self>;
}

impl<B: Clone> TryCloneBody for B {
    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

pin_project! {
    /// A body that is held in memory if it is short, so that it can be sent again, and is sent
    /// once as a stream if it is long.
    ///
    /// Its frames are kept as they came. Sending it again copies none of them.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http_body_util::{Full, BodyExt};
    /// use tower_idempotency::client::{BufferedBody, TryCloneBody};
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let upload = || Full::new(Bytes::from("a stream, for example"));
    ///
    /// let short = BufferedBody::read(upload(), 1024).await.unwrap();
    /// assert!(short.try_clone().is_some());
    ///
    /// let long = BufferedBody::read(upload(), 4).await.unwrap();
    /// assert!(long.try_clone().is_none());
    /// assert_eq!(long.collect().await.unwrap().to_bytes().len(), 21, "sent all the same");
    /// # });
    /// ```
    pub struct BufferedBody<B> {
        held: Held,
        #[pin]
        rest: Option<B>,
    }
}

/// What was read, and how much of it was sent.
#[derive(Clone)]
struct Held {
    frames: Arc<[Bytes]>,
    sent: usize,
    trailers: Option<HeaderMap>,
}

impl<B> BufferedBody<B> {
    /// Reads `body` to its end, or until more than `limit` bytes have come: then it can be
    /// sent only once.
    ///
    /// # Errors
    ///
    /// The body's own.
    pub async fn read(mut body: B, limit: u64) -> Result<Self, B::Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while bytes <= limit {
            let Some(frame) = body.frame().await.transpose()? else {
                return Ok(Self::new(frames, None, None));
            };
            match frame.into_data() {
                Ok(data) => {
                    bytes += data.len() as u64;
                    frames.push(data);
                }
                Err(frame) => return Ok(Self::new(frames, frame.into_trailers().ok(), None)),
            }
        }
        Ok(Self::new(frames, None, Some(body)))
    }

    fn new(frames: Vec<Bytes>, trailers: Option<HeaderMap>, rest: Option<B>) -> Self {
        let held = Held {
            frames: frames.into(),
            sent: 0,
            trailers,
        };
        Self { held, rest }
    }
}

/// An empty body, as a service inside that follows redirects sends one.
impl<B> Default for BufferedBody<B> {
    fn default() -> Self {
        Self::new(Vec::new(), None, None)
    }
}

impl<B> TryCloneBody for BufferedBody<B> {
    fn try_clone(&self) -> Option<Self> {
        self.rest.is_none().then(|| Self {
            held: self.held.clone(),
            rest: None,
        })
    }
}

impl<B: Body<Data = Bytes>> Body for BufferedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if let Some(data) = this.held.next() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match this.rest.as_pin_mut() {
            Some(rest) => rest.poll_frame(context),
            None => Poll::Ready(this.held.trailers.take().map(Frame::trailers).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref();
        self.held.is_sent() && rest.is_none_or(Body::is_end_stream)
    }

    /// No upper bound before trailers: where the size is known HTTP/1.1 has no place for them.
    fn size_hint(&self) -> SizeHint {
        let held = self.held.bytes();
        let rest = match &self.rest {
            Some(rest) => rest.size_hint(),
            None if self.held.trailers.is_some() => SizeHint::default(),
            None => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(held.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(held)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Held {
    fn next(&mut self) -> Option<Bytes> {
        let data = self.frames.get(self.sent).cloned()?;
        self.sent += 1;
        Some(data)
    }

    fn is_sent(&self) -> bool {
        self.sent == self.frames.len() && self.trailers.is_none()
    }

    fn bytes(&self) -> u64 {
        let left = self.frames.iter().skip(self.sent);
        left.map(|data| data.len() as u64).sum()
    }
}

impl<B> fmt::Debug for BufferedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedBody")
            .field("bytes", &self.held.bytes())
            .field("can_be_cloned", &self.rest.is_none())
            .finish()
    }
}
