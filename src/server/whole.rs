//! A body that is all there.

use std::{mem, vec};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::response_body::at_least;
use crate::frames::Frames;

/// A body that is all there, as far as it was not yet taken.
pub(super) enum Whole {
    /// Nearly every body is one frame; or none, which is an empty one.
    One(Bytes),
    /// Boxed, so that the usual case is no larger than the frame itself.
    Many(Box<Many>),
}

pub(super) struct Many {
    frames: vec::IntoIter<Bytes>,
    left: u64,
    trailers: Option<Box<HeaderMap>>,
}

impl Whole {
    pub(super) fn new(frames: Frames, trailers: Option<Box<HeaderMap>>) -> Self {
        match frames.into_one() {
            Ok(frame) if trailers.is_none() => Self::One(frame),
            frames => {
                let frames = frames.map_or_else(|many| many, Frames::from);
                Self::Many(Many::new(frames, trailers))
            }
        }
    }

    /// The next frame, which is that of the trailers if no data is left.
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        match self {
            Self::One(frame) if frame.is_empty() => None,
            Self::One(frame) => Some(Frame::data(mem::take(frame))),
            Self::Many(many) => many.next(),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::One(frame) => frame.is_empty(),
            Self::Many(many) => many.left == 0 && many.trailers.is_none(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::One(frame) => SizeHint::with_exact(frame.len() as u64),
            // With an exact size HTTP/1.1 would pass on a `Content-Length`, and no trailers.
            Self::Many(many) if many.trailers.is_some() => at_least(many.left),
            Self::Many(many) => SizeHint::with_exact(many.left),
        }
    }
}

impl Many {
    fn new(frames: Frames, trailers: Option<Box<HeaderMap>>) -> Box<Self> {
        Box::new(Self {
            left: frames.bytes(),
            frames: frames.into_vec().into_iter(),
            trailers,
        })
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        let Some(frame) = self.frames.next() else {
            return self
                .trailers
                .take()
                .map(|trailers| Frame::trailers(*trailers));
        };
        self.left -= frame.len() as u64;
        Some(Frame::data(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its end and the bounds of its size, before its first frame and behind each.
    fn told(mut body: Whole) -> Vec<(bool, u64, Option<u64>)> {
        let tell = |body: &Whole| {
            let size = body.size_hint();
            (body.is_end_stream(), size.lower(), size.upper())
        };
        let mut told = vec![tell(&body)];
        while body.next().is_some() {
            told.push(tell(&body));
        }
        assert!(body.next().is_none());
        told
    }

    #[test]
    fn what_is_left_is_told_exactly_but_before_trailers() {
        let frames = |frames: &[&'static str]| frames.iter().copied().map(Bytes::from).collect();
        let trailers = || Some(Box::new(HeaderMap::new()));
        let table = [
            (frames(&[]), None, vec![(true, 0, Some(0))]),
            (
                frames(&["ab"]),
                None,
                vec![(false, 2, Some(2)), (true, 0, Some(0))],
            ),
            (
                frames(&["ab", "c"]),
                None,
                vec![(false, 3, Some(3)), (false, 1, Some(1)), (true, 0, Some(0))],
            ),
            (
                frames(&[]),
                trailers(),
                vec![(false, 0, None), (true, 0, Some(0))],
            ),
            (
                frames(&["ab", "c"]),
                trailers(),
                vec![
                    (false, 3, None),
                    (false, 1, None),
                    (false, 0, None),
                    (true, 0, Some(0)),
                ],
            ),
        ];
        for (frames, trailers, expected) in table {
            assert_eq!(told(Whole::new(frames, trailers)), expected);
        }
    }
}
