//! Body bytes as the frames that arrived.

use std::{fmt, mem};

use bytes::{Bytes, BytesMut};

/// This many frames are kept as they came, whatever their size.
const KEPT_AS_THEY_CAME: usize = 256;

/// Beyond those, two neighbours both shorter than this become one.
const SMALL: usize = 1024;

/// The bytes of a body, kept as the frames that arrived and never joined: a 64 MiB body
/// is not copied to be kept.
///
/// Except that a body of many crumbs is packed. A frame costs its handle and whatever
/// buffer it was cut from, so two million frames of one byte each would hold some forty
/// times the memory their bytes are counted as. Beyond the first 256, a frame below 1 KiB
/// joins a neighbour below 1 KiB, in a buffer of their own.
#[derive(Clone, Default)]
pub struct Frames(Repr);

#[derive(Clone)]
enum Repr {
    /// Nearly every body is one frame, which then costs no allocation; or none, which is
    /// an empty one.
    One(Bytes),
    /// Boxed, so that the usual case is no larger than the frame itself.
    Many(Box<Many>),
}

impl Frames {
    /// No bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self(Repr::One(Bytes::new()))
    }

    /// Adds a frame; an empty one says nothing and is left out.
    ///
    /// What stood before still stands, except that the last frame may have grown at its
    /// end. Whoever reads on while frames are added must therefore remember how many
    /// *bytes* were read, or how far into which frame, and not how many frames.
    pub fn push(&mut self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        match &mut self.0 {
            Repr::One(first) if first.is_empty() => *first = frame,
            Repr::One(first) => self.0 = Repr::Many(Box::new(Many::two(mem::take(first), frame))),
            Repr::Many(many) => many.push(frame),
        }
    }

    /// The frames, in order; none is empty.
    #[must_use]
    pub fn as_slice(&self) -> &[Bytes] {
        match &self.0 {
            Repr::One(frame) if frame.is_empty() => &[],
            Repr::One(frame) => std::slice::from_ref(frame),
            Repr::Many(many) => &many.frames,
        }
    }

    /// How many bytes they hold together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.0 {
            Repr::One(frame) => frame.len() as u64,
            Repr::Many(many) => many.bytes,
        }
    }

    /// The only frame, or an empty one if there is none; themselves if they are many.
    pub(crate) fn into_one(self) -> Result<Bytes, Self> {
        match self.0 {
            Repr::One(frame) => Ok(frame),
            Repr::Many(_) => Err(self),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Bytes> {
        match self.0 {
            Repr::One(frame) if frame.is_empty() => Vec::new(),
            Repr::One(frame) => vec![frame],
            Repr::Many(many) => many.frames,
        }
    }
}

#[derive(Clone)]
struct Many {
    frames: Vec<Bytes>,
    bytes: u64,
    /// Whether the last frame is a buffer of ours, to pack small frames into.
    packing: bool,
}

impl Many {
    fn two(first: Bytes, second: Bytes) -> Self {
        Self {
            bytes: (first.len() + second.len()) as u64,
            frames: vec![first, second],
            packing: false,
        }
    }

    fn push(&mut self, frame: Bytes) {
        let crowded = self.frames.len() > KEPT_AS_THEY_CAME;
        self.bytes += frame.len() as u64;
        match self.frames.last_mut() {
            Some(last) if crowded && last.len() < SMALL && frame.len() < SMALL => {
                *last = joined(mem::take(last), &frame, self.packing);
                self.packing = true;
            }
            _ => {
                self.frames.push(frame);
                self.packing = false;
            }
        }
    }
}

/// `last` with `frame` behind it. Grows in place if `ours`, unless somebody else holds it
/// too; a foreign buffer is left, as it may be far larger than what we keep of it.
fn joined(last: Bytes, frame: &[u8], ours: bool) -> Bytes {
    let mut joined = if ours {
        BytesMut::from(last)
    } else {
        BytesMut::from(&*last)
    };
    joined.extend_from_slice(frame);
    joined.freeze()
}

impl Default for Repr {
    fn default() -> Self {
        Self::One(Bytes::new())
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
    use proptest::{collection::vec, prelude::*};

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

    #[test]
    fn crumbs_are_packed() {
        const BYTES: usize = 300_000;
        let body: Vec<u8> = (0..=u8::MAX).cycle().take(BYTES).collect();
        let whole = Bytes::from(body);
        let mut frames = Frames::new();
        for at in 0..BYTES {
            frames.push(whole.slice(at..=at));
            assert_eq!(frames.bytes(), at as u64 + 1);
        }
        assert!(frames.as_slice().len() <= KEPT_AS_THEY_CAME + BYTES / SMALL + 2);
        assert_eq!(frames, Frames::from(whole));
    }

    #[test]
    fn ordinary_frames_among_crumbs_are_not_copied() {
        let large = Bytes::from(vec![7; SMALL]);
        let crumb = Bytes::from_static(b"crumb");
        let mut frames = Frames::new();
        for _ in 0..1000 {
            [&crumb, &crumb, &large]
                .into_iter()
                .for_each(|frame| frames.push(frame.clone()));
        }
        let (early, late) = frames.as_slice().split_at(KEPT_AS_THEY_CAME);
        assert!(early.iter().all(|frame| frame == &crumb || frame == &large));
        let (ours, kept): (Vec<_>, _) = late.iter().partition(|frame| frame.len() < SMALL);
        assert!(kept.iter().all(|frame| frame.as_ptr() == large.as_ptr()));
        assert!(ours.len() <= kept.len() + 1, "neighbours are packed");
        assert_eq!(frames.bytes(), 1000 * (SMALL as u64 + 10));
    }

    #[test]
    fn packing_changes_no_frame_held_elsewhere() {
        let crumb = Bytes::from_static(b"0123456789");
        let mut frames: Frames = std::iter::repeat_n(crumb.clone(), 300).collect();
        let (before, held) = (frames.clone(), frames.as_slice().to_vec());
        let bytes = held.concat();
        frames.push(crumb);
        assert_eq!(held.concat(), bytes);
        assert_eq!(before.as_slice().concat(), bytes);
        assert_eq!(frames.as_slice().concat().len(), bytes.len() + 10);
        assert!(frames.as_slice().concat().starts_with(&bytes));
    }

    #[test]
    fn a_packed_crumb_lets_its_large_buffer_go() {
        let foreign = || {
            let mut foreign = Bytes::from(vec![7; 1 << 16]);
            foreign.truncate(10);
            foreign
        };
        let frames: Frames = std::iter::repeat_with(foreign).take(300).collect();
        let Repr::Many(many) = frames.0 else {
            panic!("they are many");
        };
        let packed = many.frames.into_iter().next_back().unwrap();
        assert!(packed.len() > 10);
        assert!(BytesMut::from(packed).capacity() < 2 * SMALL);
    }

    proptest! {
        /// A reader that remembers a frame and how far into it can always read on.
        #[test]
        fn what_stood_before_still_stands(
            lengths in vec(prop_oneof![8 => 0..40_usize, 1 => SMALL - 2..SMALL + 2], 250..600),
        ) {
            let (mut frames, mut read) = (Frames::new(), Vec::new());
            let (mut index, mut offset) = (0, 0);
            for (at, length) in lengths.iter().enumerate() {
                frames.push(Bytes::from(vec![at.to_le_bytes()[0]; *length]));
                while let Some(frame) = frames.as_slice().get(index) {
                    read.extend_from_slice(&frame[offset..]);
                    offset = frame.len();
                    if index + 1 == frames.as_slice().len() {
                        break;
                    }
                    (index, offset) = (index + 1, 0);
                }
                prop_assert_eq!(read.len() as u64, frames.bytes());
            }
            prop_assert_eq!(&read, &frames.as_slice().concat());
            let late = frames.as_slice().iter().skip(KEPT_AS_THEY_CAME);
            let small: Vec<_> = late.map(|frame| frame.len() < SMALL).collect();
            prop_assert!(!small.windows(2).any(|pair| pair == [true, true]));
        }
    }
}
