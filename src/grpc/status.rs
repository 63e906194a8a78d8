//! Status codes: which one a refusal has.

use http::StatusCode;

use crate::rejection::RejectionKind;

/// The status codes of gRPC that refusals have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Unavailable = 14,
}

impl Code {
    /// The code of a refusal that has `status` over plain HTTP.
    pub(crate) fn of(kind: RejectionKind, status: StatusCode) -> Self {
        match kind {
            RejectionKind::KeyRequired | RejectionKind::KeyInvalid(_) => Self::InvalidArgument,
            RejectionKind::Conflict if status == StatusCode::CONFLICT => Self::AlreadyExists,
            RejectionKind::Conflict
            | RejectionKind::ResultUnavailable
            | RejectionKind::OutcomeUnknown => Self::FailedPrecondition,
            RejectionKind::InFlight => Self::Aborted,
            RejectionKind::PayloadTooLarge => Self::ResourceExhausted,
            RejectionKind::BodyUnreadable => Self::Cancelled,
            RejectionKind::BodyTimeout => Self::DeadlineExceeded,
            RejectionKind::ScopeMissing => Self::PermissionDenied,
            RejectionKind::StoreUnavailable | RejectionKind::Unconfirmed => Self::Unavailable,
        }
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{contract::WireContract, key::InvalidKey};

    #[test]
    fn refusals() {
        use tonic::Code as Tonic;
        let table = [
            (RejectionKind::KeyRequired, Tonic::InvalidArgument),
            (
                RejectionKind::KeyInvalid(InvalidKey::Empty),
                Tonic::InvalidArgument,
            ),
            (RejectionKind::Conflict, Tonic::AlreadyExists),
            (RejectionKind::InFlight, Tonic::Aborted),
            (RejectionKind::ResultUnavailable, Tonic::FailedPrecondition),
            (RejectionKind::OutcomeUnknown, Tonic::FailedPrecondition),
            (RejectionKind::PayloadTooLarge, Tonic::ResourceExhausted),
            (RejectionKind::BodyUnreadable, Tonic::Cancelled),
            (RejectionKind::BodyTimeout, Tonic::DeadlineExceeded),
            (RejectionKind::ScopeMissing, Tonic::PermissionDenied),
            (RejectionKind::StoreUnavailable, Tonic::Unavailable),
            (RejectionKind::Unconfirmed, Tonic::Unavailable),
        ];
        let code = |contract: &WireContract, kind| {
            let code = Code::of(kind, contract.status(kind));
            Tonic::from(i32::from(code.number()))
        };
        for (kind, expected) in table {
            assert_eq!(code(&WireContract::default(), kind), expected, "{kind:?}");
            let expected = match kind {
                RejectionKind::Conflict => Tonic::FailedPrecondition,
                _ => expected,
            };
            assert_eq!(code(&WireContract::ietf(), kind), expected, "{kind:?}");
        }
    }
}
