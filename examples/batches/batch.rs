//! The API: creating batches, and listing them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{self, HeaderValue, StatusCode, header::CONTENT_TYPE},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower_idempotency::{Directive, IdempotencyLayer, InFlight, JsonField, MemoryStore, Rejection};

/// The service, and the layer in it, to be drained in the end.
pub(crate) fn app() -> (Router, IdempotencyLayer<MemoryStore>) {
    let idempotency = IdempotencyLayer::new(MemoryStore::new())
        .key_source(JsonField::new("idempotency_key"))
        .in_flight(InFlight::Wait(Duration::from_secs(10)))
        // Whose batch was refused may correct it under the same key.
        .record_policy_fn(|head| match head.status.is_success() {
            true => Directive::record(),
            false => Directive::release(),
        })
        .render_fn(envelope);
    let batches = Arc::new(Batches::default());
    let app = Router::new()
        .route("/v1/batches", get(list).post(create))
        .layer(idempotency.clone())
        .layer(from_fn_with_state(Arc::clone(&batches), count))
        .with_state(batches);
    (app, idempotency)
}

/// What was started, and how many requests there were.
#[derive(Default)]
struct Batches {
    started: Mutex<Vec<Batch>>,
    posts: AtomicUsize,
}

#[derive(Clone, Serialize)]
struct Batch {
    id: String,
    object: &'static str,
    status: &'static str,
    created_at: u64,
    #[serde(flatten)]
    asked: Asked,
}

#[derive(Clone, Serialize, Deserialize)]
struct Asked {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

impl Asked {
    fn check(&self) -> Result<(), &'static str> {
        if !self.input_file_id.starts_with("file-") {
            return Err("input_file_id is no file");
        }
        if self.completion_window != "24h" {
            return Err("completion_window must be 24h");
        }
        Ok(())
    }
}

async fn create(
    State(batches): State<Arc<Batches>>,
    Json(asked): Json<Asked>,
) -> Result<Json<Batch>, Invalid> {
    asked.check().map_err(Invalid)?;
    // Others get their turn, as they would while a database is asked.
    tokio::task::yield_now().await;
    let mut started = batches.started.lock().expect("nobody panics with it");
    let batch = Batch {
        id: format!("batch_{}", started.len() + 1),
        object: "batch",
        status: "validating",
        created_at: 1_700_000_000,
        asked,
    };
    started.push(batch.clone());
    Ok(Json(batch))
}

async fn list(State(batches): State<Arc<Batches>>) -> Json<Value> {
    let started = batches.started.lock().expect("nobody panics with it");
    let posts = batches.posts.load(Ordering::SeqCst);
    Json(json!({ "object": "list", "data": *started, "has_more": false, "posts": posts }))
}

async fn count(State(batches): State<Arc<Batches>>, request: Request, next: Next) -> Response {
    if request.method() == "POST" {
        batches.posts.fetch_add(1, Ordering::SeqCst);
    }
    next.run(request).await
}

/// A batch that was not started.
struct Invalid(&'static str);

impl IntoResponse for Invalid {
    fn into_response(self) -> Response {
        let error = error_of(self.0, "invalid_request_error", "invalid_batch");
        (StatusCode::BAD_REQUEST, Json(error)).into_response()
    }
}

/// Refusals of the layer in the form that clients of this API know.
fn envelope(rejection: &Rejection) -> http::Response<Bytes> {
    let kind = rejection.kind();
    let message = format!("{}: {}", kind.title(), kind.detail());
    let error = error_of(&message, "idempotency_error", kind.code());
    let mut response = http::Response::new(Bytes::from(error.to_string()));
    *response.status_mut() = rejection.status();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn error_of(message: &str, kind: &str, code: &str) -> Value {
    json!({ "error": { "message": message, "type": kind, "code": code, "param": null } })
}
