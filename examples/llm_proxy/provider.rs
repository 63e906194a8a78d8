//! A provider that answers by a script, and counts what it is asked.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse as _, Response,
        sse::{Event, Sse},
    },
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;

/// Between two tokens.
const PAUSE: Duration = Duration::from_millis(20);

const ANSWER: [&str; 8] = [
    "Once",
    "is",
    "enough",
    "for",
    "every",
    "operation",
    "you",
    "name.",
];

#[derive(Clone, Default)]
pub(crate) struct Provider {
    calls: Arc<AtomicUsize>,
}

#[derive(Deserialize)]
struct Ask {
    prompt: String,
    #[serde(default)]
    stream: bool,
}

impl Provider {
    /// How often it was called, and would have been paid.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/v1/chat/completions", post(complete))
            .with_state(self.clone())
    }
}

async fn complete(State(provider): State<Provider>, Json(ask): Json<Ask>) -> Response {
    let call = provider.calls.fetch_add(1, Ordering::SeqCst) + 1;
    println!("  provider: call {call}");
    // The script: this prompt is answered from its second call on.
    if ask.prompt == "busy" && call % 2 == 1 {
        return (
            StatusCode::TOO_MANY_REQUESTS,
            [("retry-after", "1")],
            "later",
        )
            .into_response();
    }
    if ask.stream {
        let tokens = stream::iter(ANSWER).then(move |token| async move {
            tokio::time::sleep(PAUSE).await;
            let token = json!({ "call": call, "token": token }).to_string();
            Ok::<_, Infallible>(Event::default().data(token))
        });
        let end = stream::iter([Ok(Event::default().data("[DONE]"))]);
        return Sse::new(tokens.chain(end)).into_response();
    }
    tokio::time::sleep(PAUSE * 5).await;
    Json(json!({ "call": call, "text": ANSWER.join(" ") })).into_response()
}
