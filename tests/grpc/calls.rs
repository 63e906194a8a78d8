//! What is protected, and what a replay looks like.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Request;
use http_body_util::{Empty, Full};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Response, Status, codec::CompressionEncoding, metadata::MetadataValue};
use tonic_types::StatusExt as _;
use tower::{ServiceExt as _, service_fn};
use tower_idempotency::{Idempotency, IdempotencyLayer, MemoryStore, grpc};

use crate::{
    outside::{Gate, Runs, soon},
    payments::{CHARGE, Caller, Order, Paid, Payments, is_replay, order},
    raw::{self, call, framed},
    serve::{connect, connect_to, layer, over, serve},
    stub::{Says, Stub},
    support::{self, Answer},
};

/// Charges, and counts.
pub(crate) fn bank(runs: &Runs) -> Payments {
    let runs = runs.clone();
    Payments::new(move |order: tonic::Request<Order>| {
        let (run, amount) = (runs.add() as u64, order.get_ref().amount);
        let mut response = Response::new(Paid { run, amount });
        let binary = MetadataValue::from_bytes(b"\x00\xff=binary");
        response.metadata_mut().insert_bin("x-receipt-bin", binary);
        response
            .metadata_mut()
            .append("x-part", "one".parse().unwrap());
        response
            .metadata_mut()
            .append("x-part", "two".parse().unwrap());
        async { Ok(response) }
    })
}

/// Fails as `status` says, and counts.
pub(crate) fn failing(runs: &Runs, status: Status) -> Payments {
    let runs = runs.clone();
    Payments::new(move |_| {
        runs.add();
        let status = status.clone();
        async { Err(status) }
    })
}

#[tokio::test]
async fn a_unary_call_runs_once_and_is_replayed() {
    let runs = Runs::default();
    let caller = connect(&layer(), bank(&runs)).await.key("k");
    let first = caller.charge(7).await.unwrap();
    let second = caller.charge(7).await.unwrap();
    assert!(!is_replay(&first) && is_replay(&second));
    assert_eq!(first.get_ref(), second.get_ref());
    assert_eq!(second.get_ref(), &Paid { run: 1, amount: 7 });
    let receipt = second.metadata().get_bin("x-receipt-bin").unwrap();
    assert_eq!(&*receipt.to_bytes().unwrap(), b"\x00\xff=binary");
    let parts: Vec<_> = second.metadata().get_all("x-part").iter().collect();
    assert_eq!(parts, ["one", "two"]);
    assert_eq!(runs.count(), 1);
    let other = caller.key("other").charge(7).await.unwrap();
    assert_eq!((other.get_ref().run, is_replay(&other)), (2, false));
}

#[tokio::test]
async fn on_the_wire_a_replay_differs_by_its_marker_alone() {
    let details = tonic_types::ErrorDetails::with_error_info("R", "d", []);
    let mut status = Status::with_error_details(Code::NotFound, "no", details);
    let binary = MetadataValue::from_bytes(b"\x00\xff");
    status.metadata_mut().insert_bin("x-why-bin", binary);
    let runs = Runs::default();
    for (payments, trailers_only) in [(bank(&runs), false), (failing(&runs, status), true)] {
        let address = serve(&layer(), payments).await;
        let first = raw::send(address, call(CHARGE, "k", b"\x08\x07")).await;
        let second = raw::send(address, call(CHARGE, "k", b"\x08\x07")).await;
        assert_eq!(first.trailers_only, trailers_only);
        assert_eq!(second.answer.trailers.is_none(), trailers_only);
        assert!(!first.answer.is_replay() && second.answer.is_replay());
        assert_eq!(first.unmarked(), second.unmarked());
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn trailers_are_kept_with_binary_metadata() {
    let runs = Runs::default();
    let counted = runs.clone();
    let service = service_fn(move |_| {
        counted.add();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.append("x-sum-bin", "AP8".parse().unwrap());
        trailers.append("x-sum-bin", "AQ".parse().unwrap());
        let body = support::frames(vec![
            support::data("m"),
            http_body::Frame::trailers(trailers),
        ]);
        async { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
    });
    let service = support::serve(&layer(), service);
    let first = support::send(&service, call(CHARGE, "k", b"m")).await;
    let second = support::send(&service, call(CHARGE, "k", b"m")).await;
    assert_eq!(first.trailers.as_ref().unwrap().len(), 3);
    assert_eq!(first.trailers, second.trailers);
    assert!(second.is_replay() && second.header("trailer").is_none());
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn no_byte_of_an_answer_leaves_before_its_record_is_stored() {
    let gate = Gate::closed();
    let layer = over(Stub::new(Says::Slow(gate.clone())));
    let service = support::serve(&layer, bank(&Runs::default()));
    let mut answer = Box::pin(service.oneshot(call(CHARGE, "k", b"\x08\x07")));
    tokio::select! {
        biased;
        _ = &mut answer => panic!("it left"),
        () = gate.somebody_came() => {}
    }
    assert!(futures_util::poll!(&mut answer).is_pending());
    gate.open();
    let answer = Answer::read(answer.await.unwrap()).await;
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn compression_does_not_count() {
    let runs = Runs::default();
    let plain = connect(&layer(), bank(&runs)).await.key("k");
    plain.charge(7).await.unwrap();
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let caller = plain.clone().compressed(encoding);
        assert!(is_replay(&caller.charge(7).await.unwrap()));
        let other = caller.charge(8).await.unwrap_err();
        assert_eq!(other.code(), Code::AlreadyExists);
        // And the other way round.
        let caller = caller.key(&format!("{encoding:?}"));
        assert!(!is_replay(&caller.charge(7).await.unwrap()));
        let plain = plain.clone().key(&format!("{encoding:?}"));
        assert!(is_replay(&plain.charge(7).await.unwrap()));
    }
    assert_eq!(runs.count(), 3);
}

#[tokio::test]
async fn the_proto_suffix_does_not_count_and_other_metadata_neither() {
    let runs = Runs::default();
    let address = serve(&layer(), bank(&runs)).await;
    let send = async |media_type: &str| {
        let mut request = call(CHARGE, "k", b"\x08\x07");
        let media_type = media_type.parse().unwrap();
        request.headers_mut().insert("content-type", media_type);
        raw::send(address, request).await.answer
    };
    assert!(!send("application/grpc").await.is_replay());
    assert!(send("application/grpc+proto").await.is_replay());
    assert_eq!(
        send("application/grpc+json").await.header("grpc-status"),
        Some("6")
    );
}

#[tokio::test]
async fn a_client_stream_is_its_messages() {
    let runs = Runs::default();
    let caller = connect(&layer(), bank(&runs)).await.key("k");
    let orders = || stream::iter([order(1), order(2)]);
    let first = caller.charge_all(orders()).await.unwrap();
    let second = caller.charge_all(orders()).await.unwrap();
    assert_eq!(first.get_ref(), &Paid { run: 1, amount: 3 });
    assert!(is_replay(&second));
    let compressed = caller.clone().compressed(CompressionEncoding::Gzip);
    assert!(is_replay(&compressed.charge_all(orders()).await.unwrap()));
    let other = caller.charge_all(stream::iter([order(3)])).await;
    assert_eq!(other.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(runs.count(), 1);
}

/// Sends each order only after the one before was answered.
async fn chat(caller: &Caller) {
    let (sender, orders) = mpsc::unbounded_channel();
    sender.send(order(0)).unwrap();
    let orders = UnboundedReceiverStream::new(orders);
    let mut answers = soon(caller.chat(orders)).await.unwrap().into_inner();
    for run in 0..5 {
        let paid = soon(answers.next()).await.unwrap().unwrap();
        assert_eq!(paid, Paid { run, amount: run });
        sender.send(order(run + 1)).unwrap();
    }
}

#[tokio::test]
async fn a_bidirectional_stream_on_the_same_server_is_untouched() {
    let runs = Runs::default();
    let caller = connect(&layer().require_key(), bank(&runs)).await;
    chat(&caller).await;
    let caller = caller.key("k");
    chat(&caller).await;
    chat(&caller).await;
    caller.charge(7).await.unwrap();
    assert!(is_replay(&caller.charge(7).await.unwrap()));
}

#[tokio::test]
async fn without_a_when_all_calls_pass() {
    let runs = Runs::default();
    let layer = IdempotencyLayer::new(MemoryStore::new()).require_key();
    let caller = connect(&layer, bank(&runs)).await;
    caller.charge(7).await.unwrap();
    let caller = caller.key("k");
    chat(&caller).await;
    for run in 2..4 {
        assert_eq!(caller.charge(7).await.unwrap().get_ref().run, run);
    }
    assert_eq!(layer.store().len(), 0);
}

#[tokio::test]
async fn grpc_web_passes_and_plain_http_goes_by_its_own_rules() {
    let runs = Runs::default();
    let counted = runs.clone();
    let service = service_fn(move |_| {
        let run = counted.add().to_string();
        // With this a call would be recorded.
        let answer = http::Response::builder().header("grpc-status", "0");
        async { answer.body(Full::<Bytes>::from(run)) }
    });
    let calls = grpc::methods([CHARGE]);
    let layer = IdempotencyLayer::new(MemoryStore::new())
        .when(move |parts| !grpc::is_call(&parts.headers) || calls(parts));
    let service = support::serve(&layer, service);
    let send = async |media_type: &str, body: &str| {
        let request = Request::post(CHARGE)
            .header("content-type", media_type)
            .header("idempotency-key", "k")
            .body(Full::from(body.to_owned()))
            .unwrap();
        support::send(&service, request).await
    };
    for run in ["1", "2"] {
        assert_eq!(send("application/grpc-web+proto", "1").await.text(), run);
    }
    assert!(!send("application/json", "1").await.is_replay());
    assert!(send("application/json", "1").await.is_replay());
    let mismatch = send("application/json", "2").await;
    assert_eq!(
        (mismatch.status.as_u16(), &*mismatch.code()),
        (409, "idempotency_conflict")
    );
}

#[tokio::test]
async fn a_handler_sees_its_operation() {
    let payments = Payments::new(|order: tonic::Request<Order>| async move {
        let operation = order.extensions().get::<Idempotency>().unwrap();
        assert_eq!(operation.key().as_str(), "k");
        let run = operation.attempt().into();
        Ok(Response::new(Paid { run, amount: 0 }))
    });
    let caller = connect_to(serve(&layer(), payments).await).await.key("k");
    assert_eq!(caller.charge(7).await.unwrap().get_ref().run, 1);
}

#[tokio::test]
async fn a_body_that_is_no_message_is_compared_as_it_was_sent() {
    let runs = Runs::default();
    let counted = runs.clone();
    let service = service_fn(move |_| {
        counted.add();
        let answer = http::Response::builder().header("grpc-status", "3");
        async { answer.body(Empty::<Bytes>::new()) }
    });
    let service = support::serve(&layer(), service);
    for (key, body) in [
        ("a", &b"\x07nonsense"[..]),
        ("b", b"\0\xff\xff\xff\xff"),
        ("c", b""),
    ] {
        let send = async |body: &[u8]| {
            let request = call(CHARGE, key, b"").map(|_| Full::new(Bytes::copy_from_slice(body)));
            support::send(&service, request).await
        };
        assert!(!send(body).await.is_replay());
        assert!(send(body).await.is_replay());
        assert_eq!(send(&framed(b"m")).await.header("grpc-status"), Some("6"));
    }
    assert_eq!(runs.count(), 3);
}
