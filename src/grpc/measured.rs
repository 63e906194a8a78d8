//! A run of bytes by its length and digest.

use std::io;

use crate::digest::PieceDigest;

/// Bytes of which only length and digest are kept.
pub(super) struct Measured(PieceDigest);

impl Measured {
    /// The content of a message.
    pub(super) fn message() -> Self {
        Self(PieceDigest::behind("grpc:message", |_| {}))
    }

    /// Bytes that are compared as they were sent, compressed as `encoding` says.
    pub(super) fn as_sent(encoding: &[u8]) -> Self {
        Self(PieceDigest::behind("grpc:as-sent", |head| {
            head.part(encoding);
        }))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.piece(bytes);
    }

    /// Length and digest.
    pub(super) fn finish(mut self) -> (u64, [u8; 32]) {
        (self.0.length(), self.0.finish())
    }

    pub(super) fn length(&self) -> u64 {
        self.0.length()
    }
}

impl io::Write for Measured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
