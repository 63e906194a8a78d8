//! What becomes of an answer.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Response, Status};
use tower::service_fn;
use tower_idempotency::{Directive, RecordedHeaders};

use crate::{
    calls::{bank, failing},
    outside::{Runs, soon},
    payments::{CHARGE, Paid, Payments, is_replay},
    raw::call,
    serve::{Events, connect, layer},
    support,
};

#[tokio::test]
async fn by_grpc_status() {
    for code in 1..=16 {
        let (code, runs) = (Code::from(code), Runs::default());
        let payments = failing(&runs, Status::new(code, "a % and an \u{e9}"));
        let caller = connect(&layer(), payments).await.key("k");
        let first = caller.charge(7).await.unwrap_err();
        let second = caller.charge(7).await.unwrap_err();
        assert_eq!((first.code(), second.code()), (code, code));
        assert_eq!(second.message(), "a % and an \u{e9}");
        let recorded = matches!(
            code,
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
        );
        let replayed = second.metadata().contains_key("idempotent-replayed");
        assert_eq!(replayed, recorded, "{code:?}");
        assert_eq!(runs.count(), if recorded { 1 } else { 2 }, "{code:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_status_is_a_failure() {
    let runs = Runs::default();
    let counted = runs.clone();
    let service = service_fn(move |_| {
        let run = counted.add();
        let mut frames = vec![support::data("message")];
        if run > 1 {
            frames.push(http_body::Frame::trailers(http::HeaderMap::new()));
        }
        let response = http::Response::new(support::frames(frames));
        async { Ok::<_, std::convert::Infallible>(response) }
    });
    let service = support::serve(&layer(), service);
    for run in 1..4 {
        let answer = support::send(&service, call(CHARGE, "k", b"m")).await;
        assert_eq!(
            (answer.text().as_str(), answer.is_replay()),
            ("message", false)
        );
        assert_eq!(runs.count(), run);
    }
}

#[tokio::test]
async fn a_directive_of_the_handler_wins() {
    let runs = Runs::default();
    let counted = runs.clone();
    let payments = Payments::new(move |_| {
        let run = counted.add() as u64;
        let mut response = Response::new(Paid { run, amount: 0 });
        response.extensions_mut().insert(match run {
            1 => Directive::release(),
            _ => Directive::seal(),
        });
        async { Ok(response) }
    });
    let caller = connect(&layer(), payments).await.key("k");
    assert_eq!(caller.charge(7).await.unwrap().get_ref().run, 1);
    assert_eq!(caller.charge(7).await.unwrap().get_ref().run, 2);
    let sealed = caller.charge(7).await.unwrap_err();
    assert_eq!(sealed.code(), Code::FailedPrecondition);
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn a_directive_wins_over_a_status_in_the_head() {
    let runs = Runs::default();
    let counted = runs.clone();
    let service = service_fn(move |_| {
        counted.add();
        let answer = http::Response::builder()
            .header("grpc-status", "0")
            .extension(Directive::release());
        async { answer.body(http_body_util::Empty::<bytes::Bytes>::new()) }
    });
    let service = support::serve(&layer(), service);
    for run in 1..3 {
        support::send(&service, call(CHARGE, "k", b"m")).await;
        assert_eq!(runs.count(), run);
    }
}

/// Without them a client cannot tell how the call ended.
#[tokio::test]
async fn what_a_client_reads_an_answer_by_is_kept_whatever_else_is() {
    let runs = Runs::default();
    let layer = layer().recorded_headers(RecordedHeaders::only([]));
    let mut status = Status::with_details(Code::NotFound, "no such order", b"details"[..].into());
    status.metadata_mut().insert("x-node", "7".parse().unwrap());
    let caller = connect(&layer, failing(&runs, status)).await.key("k");
    let first = caller.charge(7).await.unwrap_err();
    let second = caller.charge(7).await.unwrap_err();
    assert!(second.metadata().contains_key("idempotent-replayed"));
    assert_eq!(
        (second.code(), second.message()),
        (first.code(), first.message())
    );
    assert_eq!(second.details(), b"details");
    assert!(first.metadata().contains_key("x-node"));
    assert!(!second.metadata().contains_key("x-node"));
}

#[tokio::test]
async fn a_record_policy_for_http_is_not_asked() {
    let runs = Runs::default();
    let layer = layer().record_policy_fn(|_| Directive::release());
    let caller = connect(&layer, bank(&runs)).await.key("k");
    caller.charge(7).await.unwrap();
    assert!(is_replay(&caller.charge(7).await.unwrap()));
}

#[tokio::test]
async fn a_server_stream_is_recorded_while_it_is_read() {
    let (sender, paids) = mpsc::unbounded_channel();
    let paids = std::sync::Mutex::new(Some(UnboundedReceiverStream::new(paids)));
    let payments = Payments::watching(move || paids.lock().unwrap().take().unwrap());
    let (layer, mut events) = Events::of(layer());
    let caller = connect(&layer, payments).await.key("k");
    let mut first = soon(caller.watch()).await.unwrap().into_inner();
    for run in 0..3 {
        sender.send(Ok(Paid { run, amount: 0 })).unwrap();
        assert_eq!(soon(first.next()).await.unwrap().unwrap().run, run);
    }
    // The client leaves; the stream is read on.
    drop(first);
    sender.send(Ok(Paid { run: 3, amount: 0 })).unwrap();
    drop(sender);
    events.wait_for("recorded").await;
    let second = soon(caller.watch()).await.unwrap();
    assert!(is_replay(&second));
    let paids: Vec<_> = second.into_inner().try_collect().await.unwrap();
    let runs: Vec<_> = paids.iter().map(|paid| paid.run).collect();
    assert_eq!(runs, [0, 1, 2, 3]);
}

/// How the same call ends twice, if its stream fails with `status` after a message.
async fn watched_twice(status: Status) -> ([Code; 2], usize) {
    let runs = Runs::default();
    let counted = runs.clone();
    let payments = Payments::watching(move || {
        counted.add();
        let paids = stream::iter([Ok(Paid::default()), Err(status.clone())]);
        paids.then(|paid| async {
            // Not all there at once.
            tokio::task::yield_now().await;
            paid
        })
    });
    let caller = connect(&layer(), payments).await.key("k");
    let mut codes = [Code::Ok; 2];
    for code in &mut codes {
        let mut paids = soon(caller.watch()).await.unwrap().into_inner();
        assert!(soon(paids.next()).await.unwrap().is_ok());
        *code = soon(paids.next()).await.unwrap().unwrap_err().code();
    }
    (codes, runs.count())
}

#[tokio::test]
async fn a_live_answer_goes_by_the_status_at_its_end() {
    let released = watched_twice(Status::unavailable("later")).await;
    assert_eq!(released, ([Code::Unavailable; 2], 2));
    let recorded = watched_twice(Status::not_found("no")).await;
    assert_eq!(recorded, ([Code::NotFound; 2], 1));
}

/// A stream may have more to say behind the status that it failed with, or never end.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_status_it_fails_with() {
    let payments = Payments::watching(|| {
        let paids = [
            Ok(Paid::default()),
            Err(Status::not_found("no")),
            Ok(Paid::default()),
        ];
        stream::iter(paids).chain(stream::pending())
    });
    let caller = connect(&layer(), payments).await.key("k");
    for _ in 0..2 {
        let mut paids = soon(caller.watch()).await.unwrap().into_inner();
        assert!(soon(paids.next()).await.unwrap().is_ok());
        let status = soon(paids.next()).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
}
