//! Two tenants, one key: whose key it is comes from the token that was verified.
//!
//! ```text
//! cargo run --example tenant_scope --features axum
//! ```
//!
//! By default a key belongs to whoever sends the same credentials. Tokens change, though,
//! and a retry with a fresh token would run again. Here a middleware verifies the token
//! and leaves the tenant behind as an extension; the idempotency layer, **inside** that
//! middleware, takes it as the scope. The requests are made in this very process.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn},
    response::Response,
    routing::post,
};
use tower::ServiceExt as _;
use tower_idempotency::{ExtensionScope, IdempotencyLayer, MemoryStore};

/// Who asks, as the token says: what a key belongs to.
#[derive(Clone)]
struct Principal(String);

impl AsRef<[u8]> for Principal {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Verifies the token. A real service checks a signature; here tokens read
/// `secret-TENANT-SERIAL`.
fn verify(token: &str) -> Option<Principal> {
    let (tenant, _serial) = token.strip_prefix("secret-")?.split_once('-')?;
    Some(Principal(tenant.to_owned()))
}

/// Leaves the principal behind. A token that is wrong is refused here; a request without
/// one goes on as nobody, and it is for each route to say whether that will do.
async fn authenticate(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let token = value
            .to_str()
            .ok()
            .and_then(|it| it.strip_prefix("Bearer "));
        let principal = token.and_then(verify).ok_or(StatusCode::UNAUTHORIZED)?;
        request.extensions_mut().insert(principal);
    }
    Ok(next.run(request).await)
}

async fn place_order(State(orders): State<Arc<AtomicU64>>) -> String {
    format!("order {}", orders.fetch_add(1, Ordering::SeqCst) + 1)
}

fn app() -> Router {
    let idempotency =
        IdempotencyLayer::new(MemoryStore::new()).scope(ExtensionScope::<Principal>::new());
    Router::new()
        .route("/orders", post(place_order))
        .layer(idempotency)
        // Added later, so outside: it runs first.
        .layer(from_fn(authenticate))
        .with_state(Arc::default())
}

/// Orders under the key `monday`; what came of it.
async fn order(app: &Router, token: Option<&str>) -> (StatusCode, String, bool) {
    let mut request = Request::post("/orders").header("Idempotency-Key", "monday");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Body::empty()).expect("a legal request");
    let response = app
        .clone()
        .oneshot(request)
        .await
        .expect("routers do not fail");
    let status = response.status();
    let replayed = response.headers().contains_key("idempotent-replayed");
    let body = to_bytes(response.into_body(), 4096)
        .await
        .expect("a short body");
    let body = String::from_utf8_lossy(&body).into_owned();
    println!(
        "{:15} -> {status}, replayed: {replayed}, {body}",
        token.unwrap_or("no token")
    );
    (status, body, replayed)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let app = app();
    let ok = |order: &str, replayed| (StatusCode::OK, order.to_owned(), replayed);

    // Both tenants use the same key, and neither sees the other's order.
    assert_eq!(
        order(&app, Some("secret-acme-1")).await,
        ok("order 1", false)
    );
    assert_eq!(
        order(&app, Some("secret-bolt-1")).await,
        ok("order 2", false)
    );
    // A fresh token, the same tenant: still the same order.
    assert_eq!(
        order(&app, Some("secret-acme-2")).await,
        ok("order 1", true)
    );
    // Nobody's key protects nobody.
    assert_eq!(order(&app, None).await.0, StatusCode::FORBIDDEN);
    assert_eq!(
        order(&app, Some("forged")).await.0,
        StatusCode::UNAUTHORIZED
    );
}
