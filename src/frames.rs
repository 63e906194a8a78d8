//! Body bytes as the frames that arrived.

use std::fmt;

use bytes::Bytes;

/// The bytes of a body, kept as the frames that arrived and never joined: a 64 MiB body
/// is not copied to be kept.
#[derive(Clone, Default)]
pub struct Frames(Repr);

#[derive(Clone, Default)]
enum Repr {
    #[default]
    Empty,
    /// Nearly every body is one frame, which then costs no allocation.
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Frames {
    /// No bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self(Repr::Empty)
    }

    /// Adds a frame; an empty one says nothing and is left out.
    pub fn push(&mut self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        self.0 = match std::mem::take(&mut self.0) {
            Repr::Empty => Repr::One(frame),
            Repr::One(first) => Repr::Many(vec![first, frame]),
            Repr::Many(mut frames) => {
                frames.push(frame);
                Repr::Many(frames)
            }
        };
    }

    /// The frames, in order; none is empty.
    #[must_use]
    pub fn as_slice(&self) -> &[Bytes] {
        match &self.0 {
            Repr::Empty => &[],
            Repr::One(frame) => std::slice::from_ref(frame),
            Repr::Many(frames) => frames,
        }
    }

    /// How many bytes they hold together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.as_slice().iter().map(|frame| frame.len() as u64).sum()
    }
}

impl From<Bytes> for Frames {
    fn from(frame: Bytes) -> Self {
        let mut frames = Self::new();
        frames.push(frame);
        frames
    }
}

impl FromIterator<Bytes> for Frames {
    fn from_iter<I: IntoIterator<Item = Bytes>>(frames: I) -> Self {
        frames.into_iter().fold(Self::new(), |mut all, frame| {
            all.push(frame);
            all
        })
    }
}

/// Equal if they hold the same bytes, however these are cut into frames.
impl PartialEq for Frames {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |frames: &'_ Self| frames.as_slice().to_vec().concat();
        self.bytes() == other.bytes() && bytes(self) == bytes(other)
    }
}

impl Eq for Frames {}

/// Bodies never appear in logs: only their measure does.
impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Frames({} bytes in {})",
            self.bytes(),
            self.as_slice().len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stay_apart_and_are_not_copied() {
        let (a, b) = (Bytes::from("ab".to_owned()), Bytes::from("c".to_owned()));
        let frames: Frames = [a.clone(), Bytes::new(), b.clone()].into_iter().collect();
        let kept: Vec<_> = frames
            .as_slice()
            .iter()
            .map(|frame| frame.as_ptr())
            .collect();
        assert_eq!(kept, [a.as_ptr(), b.as_ptr()]);
        assert_eq!(frames.bytes(), 3);
        assert_eq!(frames, Frames::from(Bytes::from_static(b"abc")));
    }

    #[test]
    fn one_frame_needs_no_vector() {
        assert_eq!(size_of::<Frames>(), size_of::<Bytes>());
    }
}
