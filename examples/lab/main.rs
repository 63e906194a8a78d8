//! A server whose handler does what the request asks, to attack the layer from outside.
//!
//! The first line on stdout is `listening on http://HOST:PORT`. SIGTERM and SIGINT drain
//! and exit 0. The settings are environment variables, see [`settings`]; what `/effect`
//! does is in the query, see [`effect`].
//!
//! ```text
//! LAB_ADDR=127.0.0.1:3000 cargo run --example lab
//! curl -i -X POST 'localhost:3000/effect?sleep_ms=2000' -H 'Idempotency-Key: k1' -d hello
//! ```

mod answer;
mod effect;
mod settings;

use std::{io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    routing::{any, get},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use self::{effect::Lab, settings::Settings};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("lab: {error}");
            return ExitCode::from(2);
        }
    };
    match serve(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> std::io::Result<()> {
    let lab = Arc::new(Lab::new(&settings)?);
    let layer = settings.layer.clone();
    let app = Router::new()
        .route("/effect", any(effect::effect))
        .route("/effect/{*path}", any(effect::effect))
        .layer(settings.layer)
        .route("/stats", get(stats))
        .with_state((lab, settings.stats));

    let listener = TcpListener::bind(&settings.address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    axum::serve(listener, app)
        .with_graceful_shutdown(asked_to_stop())
        .await?;
    layer.drain(Duration::from_secs(30)).await;
    Ok(())
}

async fn stats(State((lab, stats)): State<(Arc<Lab>, settings::Stats)>) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "executions": lab.executions(),
        "entries": stats.entries(),
        "bytes": stats.bytes(),
    }))
}

async fn asked_to_stop() {
    let on = |kind| signal(kind).expect("signals can be handled");
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate()), on(SignalKind::interrupt()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
