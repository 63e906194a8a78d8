//! Trailers, in the first answer and in its replay.

use http::{HeaderMap, HeaderValue, Response};

use crate::{
    outside::{AnyBody, Http2, full, grown_with_trailers, post2, with_trailers},
    site::{Over, Site},
};

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.append("x-sum", HeaderValue::from_static("1"));
    trailers.append("x-name", HeaderValue::from_bytes(b"J\xf6rg").unwrap());
    trailers
}

fn answer(body: AnyBody) -> Response<AnyBody> {
    let response = Response::builder().header("trailer", "x-sum, x-name");
    response.body(body).unwrap()
}

/// A body that is there, and one that grows.
const ANSWERS: [fn() -> Response<AnyBody>; 2] = [
    || answer(with_trailers("done", trailers())),
    || answer(grown_with_trailers("done", trailers())),
];

#[tokio::test]
async fn over_http1_for_a_client_that_takes_them() {
    let request = "POST /pay HTTP/1.1\r\nhost: test\r\nte: trailers\r\nidempotency-key: k\r\n\
                   content-length: 1\r\n\r\n1";
    for answer in ANSWERS {
        let site = Site::answering(Over::Http1, answer).await;
        let mut client = site.connect().await;
        for replay in [false, true] {
            let mut answer = client.ask(request).await;
            assert_eq!((answer.text(), answer.is_replay()), ("done", replay));
            answer.trailers.sort();
            let [name, sum] = &answer.trailers[..] else {
                panic!("two trailers, replay {replay}: {answer:?}");
            };
            assert_eq!((&*sum.0, &*sum.1), ("x-sum", &b"1"[..]));
            assert_eq!((&*name.0, &*name.1), ("x-name", &b"J\xf6rg"[..]));
        }
        assert_eq!(site.runs.count(), 1);
    }
}

#[tokio::test]
async fn over_http1_a_client_that_takes_none_gets_the_body() {
    for answer in ANSWERS {
        let site = Site::answering(Over::Http1, answer).await;
        let mut client = site.connect().await;
        for replay in [false, true] {
            let answer = client.ask(&crate::outside::raw_post("k", "1")).await;
            assert_eq!((answer.text(), answer.is_replay()), ("done", replay));
            assert_eq!(answer.trailers, []);
        }
    }
}

#[tokio::test]
async fn over_http2_repeated_ones_too() {
    let repeated = || {
        let mut trailers = trailers();
        trailers.append("x-sum", HeaderValue::from_static("2"));
        trailers
    };
    for answer in [
        answer(with_trailers("done", repeated())),
        answer(grown_with_trailers("done", repeated())),
    ] {
        let answer = std::sync::Arc::new(std::sync::Mutex::new(Some(answer)));
        let once = move || answer.lock().unwrap().take().unwrap();
        let site = Site::answering(Over::Http2, once).await;
        let mut client = Http2::open(site.server.address).await;
        for replay in [false, true] {
            let answer = client.ask(post2(full("1"))).await;
            assert_eq!((answer.text(), answer.is_replay()), ("done", replay));
            assert_eq!(answer.trailers, Some(repeated()), "replay {replay}");
        }
    }
}
