//! Which key a request gets.

use std::{collections::HashSet, io};

use http::{HeaderMap, HeaderName, Method, Request, Response};
use tower::{BoxError, Layer as _, ServiceExt as _};
use tower_idempotency::{
    InvalidKey, Key,
    client::{DerivedKey, KeyError, SetIdempotencyKeyLayer, UseKey, UuidV4},
    derive::Derivation,
};
use tower_test::mock::Spawn;
use uuid::Uuid;

use crate::script::{Met, Server};

type Asked = Request<&'static str>;

const ALL: [Method; 7] = [
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
];

fn request(method: Method) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri("http://api.example/pay")
}

fn post() -> http::request::Builder {
    request(Method::POST)
}

async fn send(
    layer: &SetIdempotencyKeyLayer,
    server: &Server,
    request: http::request::Builder,
) -> Result<Response<()>, BoxError> {
    let request: Asked = request.body("").unwrap();
    layer.layer(server.service()).oneshot(request).await
}

/// The header fields of the request as the server gets it.
async fn sent(layer: &SetIdempotencyKeyLayer, request: http::request::Builder) -> HeaderMap {
    let server = Server::new([]);
    send(layer, &server, request).await.unwrap();
    server.sent().remove(0)
}

/// What the server gets as key.
async fn key(layer: &SetIdempotencyKeyLayer, request: http::request::Builder) -> Option<String> {
    let headers = sent(layer, request).await;
    let key = headers.get("idempotency-key")?;
    Some(key.to_str().unwrap().to_owned())
}

/// The methods whose requests get a key.
async fn methods(layer: &SetIdempotencyKeyLayer) -> Vec<Method> {
    let mut methods = Vec::new();
    for method in ALL {
        if key(layer, request(method.clone())).await.is_some() {
            methods.push(method);
        }
    }
    methods
}

#[tokio::test]
async fn post_put_and_patch_get_one() {
    let layer = SetIdempotencyKeyLayer::new();
    let expected = [Method::POST, Method::PUT, Method::PATCH];
    assert_eq!(methods(&layer).await, expected);
    let layer = layer.methods([Method::DELETE]);
    assert_eq!(methods(&layer).await, [Method::DELETE]);
}

#[tokio::test]
async fn each_operation_has_a_uuid_of_its_own() {
    let default = SetIdempotencyKeyLayer::new();
    let random = SetIdempotencyKeyLayer::new().make_key(UuidV4::new());
    for (layer, version) in [(default, 7), (random, 4)] {
        let mut keys = HashSet::new();
        for _ in 0..100 {
            let key = key(&layer, post()).await.unwrap();
            let uuid: Uuid = key.parse().unwrap();
            assert_eq!((uuid.get_version_num(), uuid.to_string()), (version, key));
            keys.insert(uuid);
        }
        assert_eq!(keys.len(), 100);
    }
}

#[tokio::test]
async fn in_another_header() {
    let name = HeaderName::from_static("x-request-key");
    let layer = SetIdempotencyKeyLayer::new().header(name);
    let headers = sent(&layer, post()).await;
    assert!(headers.contains_key("x-request-key"));
    assert!(!headers.contains_key("idempotency-key"));
    let own = sent(&layer, post().header("x-request-key", "mine")).await;
    assert_eq!(own["x-request-key"], "mine");
}

#[tokio::test]
async fn in_quotes_on_request() {
    let chosen = || post().extension(UseKey::new("order-42"));
    let bare = SetIdempotencyKeyLayer::new();
    assert_eq!(key(&bare, chosen()).await.unwrap(), "order-42");
    assert_eq!(
        key(&bare.quoted(), chosen()).await.unwrap(),
        r#""order-42""#
    );
}

#[tokio::test]
async fn the_callers_header_is_left_as_it_is() {
    let layer = SetIdempotencyKeyLayer::new();
    for lines in [
        vec!["mine"],
        vec![r#""mine";a=1"#],
        vec!["a,b"],
        vec![""],
        vec!["a", "b"],
    ] {
        for method in ALL {
            let add = |request: http::request::Builder, line: &&str| {
                request.header("idempotency-key", *line)
            };
            let chosen = request(method).extension(UseKey::new("chosen"));
            let headers = sent(&layer, lines.iter().fold(chosen, add)).await;
            let sent: Vec<_> = headers.get_all("idempotency-key").iter().collect();
            assert_eq!(sent, lines);
        }
    }
}

#[tokio::test]
async fn a_key_for_one_call() {
    let layer = SetIdempotencyKeyLayer::new().make_key_fn(|_| Ok(Key::new("made")?));
    for method in ALL {
        let chosen = request(method).extension(UseKey::new("order 42"));
        assert_eq!(key(&layer, chosen).await.unwrap(), r#""order 42""#);
    }
    let chosen = UseKey::from(Key::new("order-42").unwrap());
    let both = || post().extension(Key::new("earlier").unwrap());
    assert_eq!(
        key(&layer, both().extension(chosen)).await.unwrap(),
        "order-42"
    );
    assert_eq!(key(&layer, both()).await.unwrap(), "earlier");
    assert_eq!(key(&layer, post()).await.unwrap(), "made");
}

/// The reason why nothing was sent.
async fn refused(layer: SetIdempotencyKeyLayer, request: http::request::Builder) -> KeyError {
    let server = Server::new([]);
    let error = send(&layer, &server, request).await.unwrap_err();
    assert_eq!(server.sent().len(), 0, "nothing is sent");
    *error.downcast().unwrap()
}

#[tokio::test]
async fn a_key_that_is_none_is_an_error_before_anything_is_sent() {
    let reason = |error: KeyError| {
        let source = std::error::Error::source(&error).unwrap();
        source.downcast_ref::<InvalidKey>().copied().unwrap()
    };
    let layer = SetIdempotencyKeyLayer::new;
    let long = "x".repeat(256);
    for (text, expected) in [
        ("", InvalidKey::EmptyKey),
        ("  ", InvalidKey::BlankKey),
        ("a\r\nx-admin: 1", InvalidKey::BadChar),
        ("ä", InvalidKey::BadChar),
        (long.as_str(), InvalidKey::TooLong),
    ] {
        let chosen = post().extension(UseKey::new(text));
        assert_eq!(reason(refused(layer(), chosen).await), expected);
        let text = text.to_owned();
        let made = layer().make_key_fn(move |_| Ok(Key::new(&text)?));
        assert_eq!(reason(refused(made, post()).await), expected);
    }
}

#[tokio::test]
async fn a_maker_may_refuse() {
    let layer = SetIdempotencyKeyLayer::new().make_key_fn(|_| Err(KeyError::new("no order")));
    let error = refused(layer, post()).await;
    assert_eq!(error.to_string(), "the request was not sent: no order");
}

#[tokio::test]
async fn the_error_of_the_inner_service_is_untouched() {
    let server = Server::new([Met::Cut]);
    let error = send(&SetIdempotencyKeyLayer::new(), &server, post()).await;
    assert!(error.unwrap_err().downcast_ref::<io::Error>().is_some());
}

#[tokio::test]
async fn the_key_can_be_read() {
    let layer = SetIdempotencyKeyLayer::new();
    for (request, readable) in [
        (post(), true),
        (post().header("idempotency-key", r#""mine""#), true),
        (post().header("idempotency-key", "a,b"), false),
        (
            post()
                .header("idempotency-key", "a,b")
                .extension(Key::new("c").unwrap()),
            false,
        ),
        (request(Method::GET), false),
    ] {
        let server = Server::new([]);
        let response = send(&layer, &server, request).await.unwrap();
        let attempt = server.attempts().remove(0);
        let read = attempt.head.extensions.get::<Key>();
        assert_eq!(read, response.extensions().get::<Key>());
        assert_eq!(read.is_some(), readable);
        if let Some(key) = read {
            let field = attempt.head.headers["idempotency-key"].to_str().unwrap();
            assert_eq!(key.as_str(), field.trim_matches('"'));
        }
    }
}

#[tokio::test]
async fn derived() {
    let layer = |scope: &str| SetIdempotencyKeyLayer::new().make_key(DerivedKey::new(scope));
    let content = || Derivation::v1().part("invoice 2041");
    let other = Derivation::v1().part("invoice 2042");
    let uri = |uri| post().uri(uri).extension(content());
    let a = layer("a");
    let keys = [
        key(&a, post().extension(content())).await,
        key(&layer("b"), post().extension(content())).await,
        key(&a, post().extension(other)).await,
        key(&a, request(Method::PUT).extension(content())).await,
        key(&a, uri("http://api.example/refund")).await,
        key(&a, uri("http://api.example/pay?")).await,
        key(&a, uri("http://api.example/pay?fast")).await,
    ];
    assert_eq!(
        keys.iter().flatten().collect::<HashSet<_>>().len(),
        keys.len()
    );
    assert_eq!(keys[0], key(&a, post().extension(content())).await);
    assert_eq!(keys[0], key(&a, uri("https://replica.example/pay")).await);
    refused(a, post()).await;
}

#[tokio::test]
async fn is_ready_when_the_inner_service_is() {
    let (inner, mut server) = tower_test::mock::pair::<Asked, Response<()>>();
    let mut client = Spawn::new(SetIdempotencyKeyLayer::new().layer(inner));
    server.allow(0);
    assert!(client.poll_ready().is_pending());
    server.allow(1);
    assert!(client.is_woken());
    assert!(client.poll_ready().is_ready());
}
