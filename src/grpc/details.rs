//! The details of a refusal: `google.rpc.Status` with `ErrorInfo` and `RetryInfo`.
//!
//! Three messages of strings and small numbers: written by hand, as a protobuf library
//! would be the largest dependency of this crate.

use std::time::Duration;

use super::status::Code;

/// What `grpc-status-details-bin` says, before base64.
#[derive(Debug)]
pub(crate) struct Details<'a> {
    pub(crate) code: Code,
    pub(crate) message: &'a str,
    /// The name of the refusal, in upper case.
    pub(crate) reason: &'a str,
    pub(crate) metadata: Option<(&'a str, &'a str)>,
    pub(crate) retry_delay: Option<Duration>,
}

const DOMAIN: &str = "tower-idempotency";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

impl Details<'_> {
    /// A `google.rpc.Status`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let status = Message::default()
            .number(1, self.code.number().into())
            .bytes(2, self.message.as_bytes())
            .bytes(3, &any(ERROR_INFO, &self.error_info()));
        let status = match self.retry_delay {
            Some(delay) => status.bytes(3, &any(RETRY_INFO, &retry_info(delay))),
            None => status,
        };
        status.0
    }

    fn error_info(&self) -> Vec<u8> {
        let info = Message::default()
            .bytes(1, self.reason.as_bytes())
            .bytes(2, DOMAIN.as_bytes());
        let info = match self.metadata {
            Some((name, value)) => {
                let entry = Message::default()
                    .bytes(1, name.as_bytes())
                    .bytes(2, value.as_bytes());
                info.bytes(3, &entry.0)
            }
            None => info,
        };
        info.0
    }
}

fn retry_info(delay: Duration) -> Vec<u8> {
    let duration = Message::default()
        .number(1, delay.as_secs())
        .number(2, delay.subsec_nanos().into());
    Message::default().bytes(1, &duration.0).0
}

fn any(type_url: &str, value: &[u8]) -> Vec<u8> {
    let any = Message::default().bytes(1, type_url.as_bytes());
    any.bytes(2, value).0
}

/// A protobuf message as it is written.
#[derive(Default)]
struct Message(Vec<u8>);

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

impl Message {
    fn number(self, field: u64, value: u64) -> Self {
        self.varint(field << 3 | VARINT).varint(value)
    }

    fn bytes(self, field: u64, value: &[u8]) -> Self {
        let tag = field << 3 | LENGTH_DELIMITED;
        let mut message = self.varint(tag).varint(value.len() as u64);
        message.0.extend_from_slice(value);
        message
    }

    fn varint(mut self, mut value: u64) -> Self {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                self.0.push(low);
                return self;
            }
            self.0.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tonic_types::{Status, pb};

    use super::*;

    #[test]
    fn others_read_the_same() {
        let message = "x".repeat(300);
        let details = Details {
            code: Code::Aborted,
            message: &message,
            reason: "IDEMPOTENCY_IN_FLIGHT",
            metadata: Some(("reason", "too_long")),
            retry_delay: Some(Duration::from_millis(29_250)),
        };
        let status = Status::decode(&*details.encode()).unwrap();
        assert_eq!((status.code, status.message), (10, message.clone()));
        let [info, retry] = &*status.details else {
            panic!("two details");
        };
        assert_eq!(info.type_url, ERROR_INFO);
        let info = pb::ErrorInfo::decode(&*info.value).unwrap();
        assert_eq!((&*info.reason, &*info.domain), (details.reason, DOMAIN));
        assert_eq!(info.metadata["reason"], "too_long");
        assert_eq!(retry.type_url, RETRY_INFO);
        let retry = pb::RetryInfo::decode(&*retry.value).unwrap();
        let delay = retry.retry_delay.unwrap();
        assert_eq!((delay.seconds, delay.nanos), (29, 250_000_000));
    }

    #[test]
    fn without_a_delay_there_is_no_retry_info() {
        let details = Details {
            code: Code::FailedPrecondition,
            message: "",
            reason: "R",
            metadata: None,
            retry_delay: None,
        };
        let status = Status::decode(&*details.encode()).unwrap();
        assert_eq!(status.details.len(), 1);
    }
}
