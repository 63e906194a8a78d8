//! Message framing, read as the body arrives.

use bytes::{Buf as _, Bytes};

use super::{measured::Measured, unpack::Encoding};
use crate::{digest::GrowingDigest, frames::Frames};

/// The messages of a body, one after the other, whatever pieces they arrive in.
///
/// Each leaves one entry of fixed size in the digest: what it is, its length, its digest.
/// What is no message leaves other entries; nothing is refused here.
pub(super) struct Messages {
    digest: GrowingDigest,
    entries: u64,
    encoding: Encoding,
    /// How many bytes may still be unpacked.
    room: u64,
    reading: Reading,
}

enum Reading {
    /// One byte of flags, four of length.
    Prefix {
        bytes: [u8; 5],
        have: usize,
    },
    Plain {
        message: Measured,
        left: u64,
    },
    Packed {
        message: Frames,
        left: u64,
    },
    /// No framing from here on.
    Rest(Measured),
}

/// What an entry is about.
#[derive(Clone, Copy)]
enum Entry {
    Message = 1,
    /// A compressed message that could not be unpacked.
    AsSent = 2,
    /// How much was missing from the message before.
    Cut = 3,
    /// Bytes that are no messages.
    Rest = 4,
}

/// What a message counts for at least when it is unpacked: it takes microseconds to begin with
/// one, and a body has room for many small ones.
const LEAST: u64 = 256;

const START: Reading = Reading::Prefix {
    bytes: [0; 5],
    have: 0,
};

impl Messages {
    /// `digest` holds all that is compared besides; at most `room` bytes are unpacked.
    pub(super) fn new(digest: GrowingDigest, encoding: Encoding, room: u64) -> Self {
        Self {
            digest,
            entries: 0,
            encoding,
            room,
            reading: START,
        }
    }

    pub(super) fn update(&mut self, mut piece: Bytes) {
        while !piece.is_empty() {
            self.step(&mut piece);
        }
    }

    /// Takes something from `piece`.
    fn step(&mut self, piece: &mut Bytes) {
        match &mut self.reading {
            Reading::Prefix { bytes, have } => {
                let taken = piece.len().min(bytes.len() - *have);
                piece.copy_to_slice(&mut bytes[*have..*have + taken]);
                *have += taken;
                if *have == bytes.len() {
                    self.reading = after(*bytes);
                }
            }
            Reading::Plain { message, left } => message.update(&take(piece, left)),
            Reading::Packed { message, left } => message.push(take(piece, left)),
            Reading::Rest(rest) => rest.update(&std::mem::take(piece)),
        }
        if let Reading::Plain { left: 0, .. } | Reading::Packed { left: 0, .. } = self.reading {
            self.end_message();
        }
    }

    /// Enters what is being read; how much of it is missing.
    fn end_message(&mut self) -> u64 {
        match std::mem::replace(&mut self.reading, START) {
            Reading::Prefix { have: 0, .. } => 0,
            Reading::Prefix { bytes, have } => {
                let mut rest = Measured::as_sent(b"");
                rest.update(&bytes[..have]);
                self.enter(Entry::Rest, rest);
                0
            }
            Reading::Plain { message, left } => {
                self.enter(Entry::Message, message);
                left
            }
            Reading::Packed { message, left } => {
                self.enter_packed(&message, left);
                left
            }
            Reading::Rest(rest) => {
                self.enter(Entry::Rest, rest);
                0
            }
        }
    }

    fn enter_packed(&mut self, packed: &Frames, missing: u64) {
        let whole = missing == 0 && self.room > 0;
        let unpacked = whole.then(|| self.encoding.unpacked(packed, self.room));
        if let Some(message) = unpacked.flatten() {
            self.room = self.room.saturating_sub(message.length().max(LEAST));
            return self.enter(Entry::Message, message);
        }
        // One bomb is enough.
        self.room = 0;
        let mut as_sent = Measured::as_sent(self.encoding.name());
        packed
            .as_slice()
            .iter()
            .for_each(|frame| as_sent.update(frame));
        self.enter(Entry::AsSent, as_sent);
    }

    fn enter(&mut self, entry: Entry, measured: Measured) {
        let (length, digest) = measured.finish();
        self.enter_raw(entry, length, digest);
    }

    fn enter_raw(&mut self, entry: Entry, length: u64, digest: [u8; 32]) {
        self.digest
            .fixed(&[entry as u8])
            .number(length)
            .fixed(&digest);
        self.entries += 1;
    }

    /// The digest of all of it.
    pub(super) fn finish(mut self) -> [u8; 32] {
        let missing = self.end_message();
        if missing > 0 {
            self.enter_raw(Entry::Cut, missing, [0; 32]);
        }
        self.digest.number(self.entries);
        self.digest.finish()
    }
}

/// What a prefix announces. Flags other than *compressed* are not defined.
fn after(prefix: [u8; 5]) -> Reading {
    let [flags, length @ ..] = prefix;
    let left = u32::from_be_bytes(length).into();
    match flags {
        0 => Reading::Plain {
            message: Measured::message(),
            left,
        },
        1 => Reading::Packed {
            message: Frames::new(),
            left,
        },
        _ => {
            let mut rest = Measured::as_sent(b"");
            rest.update(&prefix);
            Reading::Rest(rest)
        }
    }
}

/// As much of `piece` as is `left`.
fn take(piece: &mut Bytes, left: &mut u64) -> Bytes {
    let length = usize::try_from(*left).map_or(piece.len(), |left| left.min(piece.len()));
    *left -= length as u64;
    piece.split_to(length)
}

#[cfg(test)]
mod tests;
