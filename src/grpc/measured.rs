//! A run of bytes by its length and digest.

use std::io;

use crate::digest::PartDigest;

/// Bytes of which only length and digest are kept.
pub(super) struct Measured {
    digest: PartDigest,
    length: u64,
}

impl Measured {
    /// The content of a message.
    pub(super) fn message() -> Self {
        Self::new(PartDigest::new("grpc:message"))
    }

    /// Bytes that are compared as they were sent, compressed as `encoding` says.
    pub(super) fn as_sent(encoding: &[u8]) -> Self {
        Self::new(PartDigest::new("grpc:as-sent").part(encoding))
    }

    fn new(digest: PartDigest) -> Self {
        Self { digest, length: 0 }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.digest.raw(bytes);
        self.length += bytes.len() as u64;
    }

    /// Length and digest.
    pub(super) fn finish(self) -> (u64, [u8; 32]) {
        (self.length, self.digest.finish())
    }

    pub(super) fn length(&self) -> u64 {
        self.length
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
