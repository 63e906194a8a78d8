//! Response bodies for handlers.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

pub(crate) type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) fn empty() -> AnyBody {
    Empty::new().boxed_unsync()
}

pub(crate) fn full(text: &'static str) -> AnyBody {
    Full::from(text).boxed_unsync()
}

/// A body that grows with each text sent and ends when the sender is dropped.
pub(crate) fn live() -> (mpsc::UnboundedSender<&'static str>, AnyBody) {
    let (sender, receiver) = mpsc::unbounded_channel::<&'static str>();
    let frames = UnboundedReceiverStream::new(receiver)
        .map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
    (sender, StreamBody::new(frames).boxed_unsync())
}

pub(crate) fn with_trailers(text: &'static str, trailers: HeaderMap) -> AnyBody {
    Full::from(text)
        .with_trailers(async move { Some(Ok(trailers)) })
        .boxed_unsync()
}

/// The same, but none of it is there at once.
pub(crate) fn grown_with_trailers(text: &'static str, trailers: HeaderMap) -> AnyBody {
    let frames = [Frame::data(Bytes::from(text)), Frame::trailers(trailers)];
    let frames = stream::iter(frames).then(async |frame| {
        tokio::task::yield_now().await;
        Ok(frame)
    });
    StreamBody::new(frames).boxed_unsync()
}
