//! The handler that does what the request asks.
//!
//! One line `key attempt fence pid uuid` goes to the effect log; then, by the query:
//!
//! | parameter | what it does |
//! |---|---|
//! | `sleep_ms` | waits before it answers |
//! | `status` | the status; default 200 |
//! | `bytes` | size of the body; without it the body is JSON |
//! | `chunks`, `chunk_ms` | a live body, one frame per chunk, with a pause before each but the first |
//! | `fail_at` | the body fails after this many bytes |
//! | `panic=1`, `abort=1` | the handler panics; the process dies |
//! | `header=name:value`, `trailer=name:value` | repeatable; percent-encoded bytes |
//! | `directive` | `record`, `release` or `seal` |
//! | `retention_ms` | the retention of that directive; alone, of `record` |

use std::{
    fs::File,
    io::{self, Write as _},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension,
    body::Bytes,
    extract::{OriginalUri, RawQuery, State},
    http::{HeaderName, HeaderValue, Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use tower_idempotency::{Directive, Idempotency};
use uuid::Uuid;

use crate::{
    answer::{self, Shape},
    store::Stats,
};

/// What the lab remembers.
pub(crate) struct Lab {
    executions: AtomicU64,
    log: Option<File>,
}

impl Lab {
    pub(crate) fn new(log: Option<File>) -> Self {
        Self {
            executions: AtomicU64::new(0),
            log,
        }
    }

    pub(crate) fn executions(&self) -> u64 {
        self.executions.load(Ordering::SeqCst)
    }

    /// The effect: one line, by a single write.
    fn happen(&self, operation: Option<&Idempotency>, uuid: Uuid) -> io::Result<()> {
        self.executions.fetch_add(1, Ordering::SeqCst);
        let key = operation.map_or("-", |operation| operation.key().as_str());
        let (attempt, fence) = numbers(operation);
        let line = format!("{key} {attempt} {fence} {} {uuid}\n", process::id());
        self.log
            .as_ref()
            .map_or(Ok(()), |mut log| log.write_all(line.as_bytes()))
    }
}

fn numbers(operation: Option<&Idempotency>) -> (u32, u64) {
    operation.map_or((0, 0), |operation| {
        (operation.attempt(), operation.fence().get())
    })
}

pub(crate) async fn effect(
    State((lab, _)): State<(Arc<Lab>, Stats)>,
    operation: Option<Extension<Idempotency>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let asked = match Asked::parse(query.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
    };
    let uuid = Uuid::new_v4();
    let operation = operation.as_ref().map(|Extension(operation)| operation);
    if let Err(error) = lab.happen(operation, uuid) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    if asked.abort {
        process::abort();
    }
    tokio::time::sleep(asked.sleep).await;
    assert!(!asked.panic, "the request asked for a panic");
    let (attempt, fence) = numbers(operation);
    let json = serde_json::json!({
        "uuid": uuid.to_string(),
        "attempt": attempt,
        "fence": fence,
        "method": method.as_str(),
        "path": uri.path(),
        "sha256": hex(&Sha256::digest(&body)),
    });
    asked.answer(&json.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a query asks for.
#[derive(Default)]
struct Asked {
    sleep: Duration,
    status: Option<StatusCode>,
    shape: Shape,
    panic: bool,
    abort: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
    trailers: Vec<(HeaderName, HeaderValue)>,
    directive: Option<Directive>,
    retention: Option<Duration>,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            asked
                .take(name, value)
                .map_err(|error| format!("{name}={value}: {error}"))?;
        }
        Ok(asked)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u64>().map_err(|error| error.to_string());
        match name {
            "sleep_ms" => self.sleep = Duration::from_millis(number()?),
            "status" => self.status = Some(value.parse().map_err(|_| "no status")?),
            "bytes" => self.shape.bytes = Some(number()?),
            "chunks" => self.shape.chunks = Some(number()?),
            "chunk_ms" => self.shape.pause = Duration::from_millis(number()?),
            "fail_at" => self.shape.fail_at = Some(number()?),
            "panic" => self.panic = number()? == 1,
            "abort" => self.abort = number()? == 1,
            "header" => self.headers.push(field(value)?),
            "trailer" => self.trailers.push(field(value)?),
            "retention_ms" => self.retention = Some(Duration::from_millis(number()?)),
            "directive" => {
                self.directive = Some(match value {
                    "record" => Directive::record(),
                    "release" => Directive::release(),
                    "seal" => Directive::seal(),
                    _ => return Err("no directive".to_owned()),
                });
            }
            _ => return Err("unknown parameter".to_owned()),
        }
        Ok(())
    }

    fn answer(self, json: &str) -> Response {
        let mut response = answer::response(&self.shape, json, &self.trailers);
        *response.status_mut() = self.status.unwrap_or_default();
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        if self.directive.is_some() || self.retention.is_some() {
            let directive = self.directive.unwrap_or_else(Directive::record);
            let directive = match self.retention {
                Some(retention) => directive.retention(retention),
                None => directive,
            };
            response.extensions_mut().insert(directive);
        }
        response
    }
}

/// `name:value`, each percent-encoded bytes.
fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    let colon = bytes
        .iter()
        .position(|byte| *byte == b':')
        .ok_or("no colon")?;
    let name = HeaderName::from_bytes(&bytes[..colon]).map_err(|error| error.to_string())?;
    let value = HeaderValue::from_bytes(&bytes[colon + 1..]).map_err(|error| error.to_string())?;
    Ok((name, value))
}
