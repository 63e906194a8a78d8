//! Compressed messages, for the fingerprint only: the handler gets them as they came.

use std::{
    collections::VecDeque,
    io::{self, BufRead, Read},
};

use bytes::{Buf as _, Bytes};
use flate2::bufread::{GzDecoder, ZlibDecoder};
use http::{HeaderMap, HeaderValue};

use super::measured::Measured;
use crate::frames::Frames;

/// What `grpc-encoding` says that compressed messages are.
#[derive(Debug)]
pub(super) enum Encoding {
    Gzip,
    Deflate,
    /// None, or one not known here: such messages are compared as they were sent.
    Other(Option<HeaderValue>),
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let encoding = headers.get("grpc-encoding");
        match encoding.map(HeaderValue::as_bytes) {
            Some(b"gzip") => Self::Gzip,
            Some(b"deflate") => Self::Deflate,
            _ => Self::Other(encoding.cloned()),
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::Gzip => b"gzip",
            Self::Deflate => b"deflate",
            Self::Other(name) => name.as_ref().map_or(b"", |name| name.as_bytes()),
        }
    }

    /// The measure of a message once unpacked; `None` if it cannot be, or takes more than
    /// `room` bytes. It is never held as a whole.
    pub(super) fn unpacked(&self, message: &Frames, room: u64) -> Option<Measured> {
        let mut packed = Packed::new(message);
        let measured = match self {
            Self::Gzip => measure(GzDecoder::new(&mut packed), room),
            Self::Deflate => measure(ZlibDecoder::new(&mut packed), room),
            Self::Other(_) => None,
        };
        // Something behind the end: whoever reads that message may see more in it.
        measured.filter(|_| packed.0.is_empty())
    }
}

fn measure(unpacking: impl Read, room: u64) -> Option<Measured> {
    let mut measured = Measured::message();
    let read = io::copy(&mut unpacking.take(room.saturating_add(1)), &mut measured);
    read.is_ok_and(|bytes| bytes <= room).then_some(measured)
}

/// The frames of a message, to be read one after the other.
struct Packed(VecDeque<Bytes>);

impl Packed {
    fn new(message: &Frames) -> Self {
        Self(message.as_slice().iter().cloned().collect())
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.0.front().map_or(&[], |frame| frame))
    }

    fn consume(&mut self, amount: usize) {
        if let Some(frame) = self.0.front_mut() {
            frame.advance(amount);
            if frame.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(message).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(message: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(message).unwrap();
        encoder.finish().unwrap()
    }

    /// An encoding, and what packs a message so.
    type Packing = (Encoding, fn(&[u8]) -> Vec<u8>);

    const PACKINGS: [Packing; 2] = [(Encoding::Gzip, gzip), (Encoding::Deflate, deflate)];

    fn unpacked(encoding: &Encoding, packed: &[u8], room: u64) -> Option<[u8; 32]> {
        let crumbs = packed.chunks(3).map(Bytes::copy_from_slice).collect();
        let measured = encoding.unpacked(&crumbs, room)?;
        Some(measured.finish().1)
    }

    #[test]
    fn whole_messages_only() {
        for (encoding, pack) in PACKINGS {
            for message in [b"twenty bytes or more".as_slice(), b""] {
                let mut plain = Measured::message();
                plain.update(message);
                let plain = plain.finish().1;
                let unpacked = |packed: &[u8], room| unpacked(&encoding, packed, room);
                let packed = pack(message);
                assert_eq!(unpacked(&packed, 20), Some(plain), "{encoding:?}");
                for cut in 0..packed.len() {
                    assert_eq!(
                        unpacked(&packed[..cut], 20),
                        None,
                        "{encoding:?} cut at {cut}"
                    );
                }
                let more = [&*packed, b"x"].concat();
                assert_eq!(unpacked(&more, 20), None, "{encoding:?} and more");
                let two = [&*packed, &*packed].concat();
                assert_eq!(unpacked(&two, 99), None, "two of {encoding:?}");
                assert_eq!(unpacked(message, 20), None, "no {encoding:?} at all");
            }
        }
    }

    #[test]
    fn what_fails_its_checksum_is_none() {
        for (encoding, pack) in PACKINGS {
            let packed = pack(b"twenty bytes or more");
            for nth in 1..=4 {
                let mut damaged = packed.clone();
                let at = damaged.len() - nth;
                damaged[at] ^= 1;
                assert_eq!(
                    unpacked(&encoding, &damaged, 20),
                    None,
                    "{encoding:?} {nth}"
                );
            }
        }
    }

    #[test]
    fn a_bomb_is_left_alone() {
        for (encoding, pack) in PACKINGS {
            let bomb = pack(&vec![0; 1 << 24]);
            assert!(bomb.len() < 1 << 15);
            assert_eq!(unpacked(&encoding, &bomb, (1 << 24) - 1), None);
            assert!(unpacked(&encoding, &bomb, 1 << 24).is_some());
        }
    }
}
