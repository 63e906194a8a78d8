//! Refusals, as tonic's client reads them.

use std::time::Duration;

use futures_util::stream;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;
use tower::service_fn;
use tower_idempotency::{Directive, MissingScope, WireContract};

use crate::{
    calls::bank,
    outside::{Gate, Runs},
    payments::{CHARGE, Paid, Payments},
    raw::{self, call},
    serve::{connect, layer, over, serve},
    stub::{Says, Stub},
    support,
};

/// What the client is told: whether it may try again, and when.
#[derive(Debug, PartialEq)]
enum Retry {
    Never,
    Later,
    In(Duration),
}

fn refused(status: &Status, code: Code, reason: &str) -> Retry {
    assert_eq!(status.code(), code, "{status:?}");
    assert!(!status.message().is_empty());
    assert!(!status.metadata().contains_key("idempotent-replayed"));
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.domain, "tower-idempotency");
    assert_eq!(info.reason, reason);
    let delay = status.get_details_retry_info();
    let delay = delay.map(|info| info.retry_delay.unwrap());
    let pushback = status.metadata().get("grpc-retry-pushback-ms");
    match pushback.map(|value| value.to_str().unwrap()) {
        None => Retry::Later,
        Some("-1") => Retry::Never,
        Some(millis) => {
            let told = Duration::from_millis(millis.parse().unwrap());
            assert_eq!(delay.unwrap().as_millis(), told.as_millis());
            Retry::In(told)
        }
    }
}

#[tokio::test]
async fn a_key_that_is_absent_or_invalid() {
    let runs = Runs::default();
    let caller = connect(&layer().require_key(), bank(&runs)).await;
    let absent = caller.charge(7).await.unwrap_err();
    let retry = refused(&absent, Code::InvalidArgument, "IDEMPOTENCY_KEY_REQUIRED");
    assert_eq!(retry, Retry::Never);
    let invalid = caller.key("se,cret").charge(7).await.unwrap_err();
    let retry = refused(&invalid, Code::InvalidArgument, "IDEMPOTENCY_KEY_INVALID");
    assert_eq!(retry, Retry::Never);
    let info = invalid.get_details_error_info().unwrap();
    assert!(info.metadata.contains_key("reason"));
    assert!(!format!("{invalid:?}").contains("cret"));
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_mismatch() {
    let contracts = [
        (WireContract::default(), Code::AlreadyExists),
        (WireContract::ietf(), Code::FailedPrecondition),
    ];
    for (contract, code) in contracts {
        let runs = Runs::default();
        let layer = layer().contract(contract);
        let caller = connect(&layer, bank(&runs)).await.key("\"k\"");
        caller.charge(7).await.unwrap();
        let other = caller.charge(8).await.unwrap_err();
        assert_eq!(refused(&other, code, "IDEMPOTENCY_CONFLICT"), Retry::Never);
        assert_eq!(runs.count(), 1);
    }
}

#[tokio::test]
async fn a_call_in_flight() {
    let gate = Gate::closed();
    let handler = gate.clone();
    let payments = Payments::new(move |_| {
        let gate = handler.clone();
        async move {
            gate.pass().await;
            Ok(Response::new(Paid::default()))
        }
    });
    let caller = connect(&layer(), payments).await.key("k");
    let first = caller.clone();
    let first = tokio::spawn(async move { first.charge(7).await });
    gate.somebody_came().await;
    let second = caller.charge(7).await.unwrap_err();
    let Retry::In(wait) = refused(&second, Code::Aborted, "IDEMPOTENCY_IN_FLIGHT") else {
        panic!("it may be retried, and is told when");
    };
    // About as long as it has run, which is not long.
    assert!(wait >= Duration::from_millis(100) && wait <= Duration::from_secs(15));
    gate.open();
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn sealed_or_unknown() {
    let sealing = Payments::new(|_| async {
        let mut response = Response::new(Paid::default());
        response.extensions_mut().insert(Directive::seal());
        Ok(response)
    });
    let caller = connect(&layer(), sealing).await.key("k");
    caller.charge(7).await.unwrap();
    let sealed = caller.charge(7).await.unwrap_err();
    let reason = "IDEMPOTENCY_RESULT_UNAVAILABLE";
    assert_eq!(
        refused(&sealed, Code::FailedPrecondition, reason),
        Retry::Never
    );

    let layer = over(Stub::new(Says::Unknown));
    let caller = connect(&layer, bank(&Runs::default())).await.key("k");
    let unknown = caller.charge(7).await.unwrap_err();
    let reason = "IDEMPOTENCY_OUTCOME_UNKNOWN";
    assert_eq!(
        refused(&unknown, Code::FailedPrecondition, reason),
        Retry::Never
    );
}

#[tokio::test]
async fn a_store_that_is_down() {
    let runs = Runs::default();
    let layer = over(Stub::new(Says::Down)).store_attempts(1);
    let caller = connect(&layer, bank(&runs)).await.key("k");
    let down = caller.charge(7).await.unwrap_err();
    let retry = refused(&down, Code::Unavailable, "IDEMPOTENCY_STORE_UNAVAILABLE");
    assert_eq!(retry, Retry::In(Duration::from_secs(1)));
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_body_too_large_or_too_slow() {
    let runs = Runs::default();
    let small = layer().max_request_body(10);
    let caller = connect(&small, bank(&runs)).await.key("k");
    let large = caller.charge(7).await.unwrap_err();
    let reason = "IDEMPOTENCY_PAYLOAD_TOO_LARGE";
    assert_eq!(
        refused(&large, Code::ResourceExhausted, reason),
        Retry::Never
    );

    let hasty = layer().body_deadline(Duration::from_millis(10));
    let caller = connect(&hasty, bank(&runs)).await.key("k");
    let slow = caller.charge_all(stream::pending()).await.unwrap_err();
    let reason = "IDEMPOTENCY_BODY_UNREADABLE";
    assert_eq!(refused(&slow, Code::DeadlineExceeded, reason), Retry::Later);
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off() {
    let service = service_fn(|_| async {
        panic!("it must not run");
        #[expect(unreachable_code, reason = "names the type")]
        Ok::<_, std::convert::Infallible>(http::Response::new(
            http_body_util::Empty::<bytes::Bytes>::new(),
        ))
    });
    let service = support::serve(&layer(), service);
    let (sender, body) = support::live_body();
    sender.abort("broken off".into());
    let request = call(CHARGE, "k", b"").map(|_| body);
    let answer = support::send(&service, request).await;
    let status = Status::from_header_map(&answer.headers).unwrap();
    let reason = "IDEMPOTENCY_BODY_UNREADABLE";
    assert_eq!(refused(&status, Code::Cancelled, reason), Retry::Later);
}

#[tokio::test]
async fn a_scope_that_is_missing() {
    let layer = layer().scope_fn(|_| Err(MissingScope::new()));
    let caller = connect(&layer, bank(&Runs::default())).await.key("k");
    let missing = caller.charge(7).await.unwrap_err();
    let reason = "IDEMPOTENCY_SCOPE_MISSING";
    assert_eq!(
        refused(&missing, Code::PermissionDenied, reason),
        Retry::Never
    );
}

#[tokio::test]
async fn a_zombie_is_refused_in_its_own_protocol() {
    let runs = Runs::default();
    let layer = over(Stub::new(Says::Lost));
    let caller = connect(&layer, bank(&runs)).await.key("k");
    let lost = caller.charge(7).await.unwrap_err();
    let reason = "IDEMPOTENCY_RESULT_UNAVAILABLE";
    assert_eq!(
        refused(&lost, Code::FailedPrecondition, reason),
        Retry::Never
    );
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn on_the_wire_a_refusal_is_one_block_of_header_fields() {
    let layer = layer().render_fn(|_| panic!("this is not plain HTTP"));
    let address = serve(&layer, bank(&Runs::default())).await;
    let refused = raw::send(address, call(CHARGE, "in,valid", b"")).await;
    assert!(refused.trailers_only);
    assert_eq!(refused.answer.status, 200);
    assert_eq!(
        refused.answer.header("content-type"),
        Some("application/grpc")
    );
    assert_eq!(refused.answer.header("grpc-status"), Some("3"));
}
