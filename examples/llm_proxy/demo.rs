//! What the gateway does, shown step by step.

use axum::{
    body::{Body, Bytes},
    http::{Request, Uri},
};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::provider::Provider;

type Response = http::Response<Incoming>;

struct Caller {
    client: Client<HttpConnector, Body>,
    uri: Uri,
}

impl Caller {
    async fn ask(&self, key: &str, body: &'static str) -> Response {
        let request = Request::post(&self.uri)
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(Body::from(body))
            .expect("a legal request");
        self.client
            .request(request)
            .await
            .expect("the gateway answers")
    }
}

fn is_replay(response: &Response) -> bool {
    response.headers().contains_key("idempotent-replayed")
}

async fn text(response: Response) -> Bytes {
    let body = response.into_body().collect().await;
    body.expect("the whole body").to_bytes()
}

pub(crate) async fn run(uri: &Uri, provider: &Provider) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let caller = Caller {
        client,
        uri: uri.clone(),
    };

    println!("Five equal calls at once:");
    let whole = r#"{"prompt":"hello"}"#;
    let ask = || async { text(caller.ask("whole", whole).await).await };
    let answers = tokio::join!(ask(), ask(), ask(), ask(), ask());
    assert!(
        [&answers.1, &answers.2, &answers.3, &answers.4]
            .iter()
            .all(|other| **other == answers.0)
    );
    println!("  five equal answers, {} call", provider.calls());
    assert_eq!(provider.calls(), 1);

    println!("A stream, and a duplicate that joins it:");
    let live = r#"{"prompt":"hello","stream":true}"#;
    let mut first = caller.ask("live", live).await;
    let token = first.frame().await.expect("a token").expect("a frame");
    println!(
        "  the first token is there: {} bytes",
        token.data_ref().map_or(0, Bytes::len)
    );
    let second = caller.ask("live", live).await;
    assert!(is_replay(&second));
    println!("  the first caller hangs up");
    drop(first);
    let joined = text(second).await;
    println!("  the second has all {} bytes", joined.len());

    println!("The first caller comes back:");
    let retry = caller.ask("live", live).await;
    assert!(is_replay(&retry));
    assert_eq!(text(retry).await, joined);
    println!(
        "  the same {} bytes, {} calls so far",
        joined.len(),
        provider.calls()
    );
    assert_eq!(provider.calls(), 2);

    println!("A provider that is busy:");
    let busy = r#"{"prompt":"busy"}"#;
    for expected in [429, 200, 200] {
        let response = caller.ask("busy", busy).await;
        println!(
            "  {}{}",
            response.status(),
            if is_replay(&response) {
                ", from the record"
            } else {
                ""
            }
        );
        assert_eq!(response.status(), expected);
        text(response).await;
    }
    println!(
        "Eleven requests, {} paid calls, one of them refused.",
        provider.calls()
    );
    assert_eq!(provider.calls(), 4);
}
