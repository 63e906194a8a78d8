//! A server whose handler does what the request asks, to attack the layer from outside.
//!
//! The first line on stdout is `listening on http://HOST:PORT`. SIGTERM and SIGINT drain
//! and exit 0, at most [`GRACE`] for the connections and as much for operations without one.
//! The settings are environment variables, see [`settings`]; what `/effect`
//! does is in the query, see [`effect`]. Stores in other processes want their features.
//! What the layer and its store warn of is on stderr.
//!
//! ```text
//! LAB_ADDR=127.0.0.1:3000 cargo run --example lab
//! curl -i -X POST 'localhost:3000/effect?sleep_ms=2000' -H 'Idempotency-Key: k1' -d hello
//! ```

mod answer;
mod effect;
mod settings;
mod store;

use std::{io, io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    routing::{any, get},
};
use tokio::{net::TcpListener, sync::oneshot};
use tracing::Level;

use self::{effect::Lab, settings::Settings};

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(Level::WARN)
        .with_writer(io::stderr)
        .init();
    let settings = match Settings::from_env().await {
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

async fn serve(settings: Settings) -> io::Result<()> {
    let lab = Arc::new(Lab::new(settings.effect_log));
    let layer = settings.layer.clone();
    let app = Router::new()
        .route("/effect", any(effect::effect))
        .route("/effect/{*path}", any(effect::effect))
        .layer(settings.layer)
        // `LAB_MAX_REQUEST` is the limit.
        .layer(DefaultBodyLimit::disable())
        .route("/stats", get(stats))
        .with_state((lab, settings.stats));

    let listener = TcpListener::bind(&*settings.addresses).await?;
    // From the first line on, it is drained and not killed.
    let stop = asked_to_stop()?;
    println!("listening on http://{}", listener.local_addr()?);
    io::stdout().flush()?;
    let (stopping, stopped) = oneshot::channel();
    let stop = async {
        stop.await;
        _ = stopping.send(());
    };
    let served = axum::serve(listener, app).with_graceful_shutdown(stop);
    tokio::select! {
        served = served.into_future() => served?,
        // A client that stalls, in its request or the answer, would hold it for ever.
        () = grace(stopped) => {}
    }
    layer.drain(GRACE).await;
    Ok(())
}

const GRACE: Duration = Duration::from_secs(30);

async fn grace(stopped: oneshot::Receiver<()>) {
    _ = stopped.await;
    tokio::time::sleep(GRACE).await;
}

async fn stats(State((lab, stats)): State<(Arc<Lab>, store::Stats)>) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "executions": lab.executions(),
        "entries": stats.entries(),
        "bytes": stats.bytes(),
    }))
}

#[cfg(unix)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}
