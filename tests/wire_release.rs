//! How a replay is framed when the handler's own framing was wrong. Run it in release too,
//! where hyper trusts a handler's `Content-Length`:
//!
//! ```text
//! cargo test --profile wire --all-features --test wire_release
//! ```
//!
//! The first answer is given in process: how a handler frames its own is its own affair.
#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use tower::{ServiceBuilder, service_fn};
use tower_idempotency::{IdempotencyLayer, MemoryStore};

use self::outside::{Connection, Raw, Server, post, raw_post, send};

mod outside;

type Wrong = fn(&mut Response<Full<Bytes>>);

/// Has `wrong` answered and recorded, then asks twice in one write for the record; the two
/// replays, which must be all that came.
async fn two_replays(wrong: Wrong) -> [Raw; 2] {
    let layer = IdempotencyLayer::new(MemoryStore::new());
    let handler = move || {
        let mut response = Response::new(Full::from("0123456789"));
        wrong(&mut response);
        async move { Ok::<_, Infallible>(response) }
    };
    let here = service_fn(move |_: Request<_>| handler());
    let here = ServiceBuilder::new().layer(layer.clone()).service(here);
    let first = send::<_, Full<Bytes>, _>(&here, post("/pay", "k", "1")).await;
    assert!(!first.is_replay());

    let never = service_fn(never);
    let server = Server::http1(ServiceBuilder::new().layer(layer).service(never)).await;
    let mut connection = Connection::open(server.address).await;
    connection.send(&raw_post("k", "1").repeat(2)).await;
    let replays = [connection.answer().await, connection.answer().await];
    assert_eq!(connection.rest().await, b"", "after two answers");
    for replay in &replays {
        assert!(replay.is_replay());
    }
    replays
}

async fn never<B: Body>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    unreachable!("there is a record")
}

/// The two replays, whose body must be whole.
async fn two_whole_replays(wrong: Wrong) -> [Raw; 2] {
    let replays = two_replays(wrong).await;
    for replay in &replays {
        assert_eq!(replay.text(), "0123456789");
        assert_eq!(replay.all("content-length"), [b"10"]);
    }
    replays
}

#[tokio::test]
async fn a_content_length_too_small_is_not_replayed() {
    two_whole_replays(|response| {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, 3.into());
    })
    .await;
}

#[tokio::test]
async fn a_content_length_too_large_is_not_replayed() {
    two_whole_replays(|response| {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, 300.into());
    })
    .await;
}

#[tokio::test]
async fn a_content_length_of_nonsense_is_not_replayed() {
    two_whole_replays(|response| {
        let headers = response.headers_mut();
        headers.append(header::CONTENT_LENGTH, "10, 3".parse().unwrap());
        headers.append(header::CONTENT_LENGTH, 5.into());
    })
    .await;
}

#[tokio::test]
async fn a_transfer_encoding_is_not_replayed() {
    let replays = two_whole_replays(|response| {
        let chunked = "gzip, chunked".parse().unwrap();
        response
            .headers_mut()
            .insert(header::TRANSFER_ENCODING, chunked);
    })
    .await;
    for replay in replays {
        assert_eq!(replay.field("transfer-encoding"), None);
    }
}

#[tokio::test]
async fn what_belongs_to_one_connection_is_not_replayed() {
    let replays = two_whole_replays(|response| {
        let headers = response.headers_mut();
        headers.append(header::CONNECTION, "close, X-Hop".parse().unwrap());
        headers.append(header::CONNECTION, "x-other-hop".parse().unwrap());
        for name in [
            "x-hop",
            "x-other-hop",
            "keep-alive",
            "upgrade",
            "te",
            "x-kept",
        ] {
            headers.insert(name, "1".parse().unwrap());
        }
    })
    .await;
    for replay in replays {
        for name in [
            "connection",
            "x-hop",
            "x-other-hop",
            "keep-alive",
            "upgrade",
            "te",
        ] {
            assert_eq!(replay.field(name), None, "{name}");
        }
        assert_eq!(replay.field("x-kept"), Some(&b"1"[..]));
    }
}

#[tokio::test]
async fn a_body_where_none_may_be_is_not_sent() {
    let replays = two_replays(|response| {
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, 10.into());
    })
    .await;
    for replay in replays {
        assert_eq!(replay.status, 204);
        assert_eq!(replay.field("content-length"), None);
    }
}
