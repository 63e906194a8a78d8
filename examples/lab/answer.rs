//! The bodies the lab answers with.

use std::{convert::Infallible, io, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use futures_util::{Stream, StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};

/// The shape of a body.
#[derive(Default)]
pub(crate) struct Shape {
    /// Its size; without one it is JSON.
    pub(crate) bytes: Option<u64>,
    /// A live body, in as many frames.
    pub(crate) chunks: Option<u64>,
    /// Before each frame of a live body but the first.
    pub(crate) pause: Duration,
    /// It fails after this many bytes.
    pub(crate) fail_at: Option<u64>,
}

type Field = (HeaderName, HeaderValue);

pub(crate) fn response(shape: &Shape, json: &str, trailers: &[Field]) -> Response {
    let content = match shape.bytes {
        Some(bytes) => Bytes::from(pattern(bytes)),
        None => Bytes::from(json.to_owned()),
    };
    let mut response = Response::new(body(shape, content, trailers));
    let media_type = match shape.bytes {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    for (name, _) in trailers {
        headers.append(header::TRAILER, HeaderValue::from(name.clone()));
    }
    response
}

fn body(shape: &Shape, content: Bytes, trailers: &[Field]) -> Body {
    let trailers = (!trailers.is_empty()).then(|| trailers.iter().cloned().collect::<HeaderMap>());
    if shape.chunks.is_some() || shape.fail_at.is_some() {
        return live(shape, &content, trailers);
    }
    match trailers {
        None => Body::from(content),
        Some(trailers) => {
            let trailers = async move { Some(Ok::<_, Infallible>(trailers)) };
            Body::new(Full::new(content).with_trailers(trailers))
        }
    }
}

fn live(shape: &Shape, content: &Bytes, trailers: Option<HeaderMap>) -> Body {
    let mut frames: Vec<io::Result<Frame<Bytes>>> = cut(shape, content)
        .into_iter()
        .map(|frame| Ok(Frame::data(frame)))
        .collect();
    if shape.fail_at.is_some() {
        frames.push(Err(io::Error::other("the request asked for a failure")));
    } else if let Some(trailers) = trailers {
        frames.push(Ok(Frame::trailers(trailers)));
    }
    Body::new(StreamBody::new(paced(frames, shape.pause)))
}

/// As many pieces as asked for, up to where the body is to fail.
fn cut(shape: &Shape, content: &Bytes) -> Vec<Bytes> {
    let total = content.len();
    let chunks = usize::try_from(shape.chunks.unwrap_or(1))
        .unwrap_or(usize::MAX)
        .max(1);
    let until = shape
        .fail_at
        .and_then(|at| usize::try_from(at).ok())
        .unwrap_or(total)
        .min(total);
    let border = |chunk: usize| (chunk * total / chunks).min(until);
    (0..chunks)
        .map(|chunk| content.slice(border(chunk)..border(chunk + 1)))
        .filter(|piece| !piece.is_empty())
        .collect()
}

fn paced<T: Send + 'static>(frames: Vec<T>, pause: Duration) -> impl Stream<Item = T> + Send {
    stream::iter(frames)
        .enumerate()
        .then(move |(at, frame)| async move {
            if at > 0 && !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            frame
        })
}

/// Letters and line ends, so that a person can look at them.
fn pattern(bytes: u64) -> Vec<u8> {
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789\n".iter().copied();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    letters.cycle().take(bytes).collect()
}
