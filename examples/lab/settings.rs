//! The settings of the lab.
//!
//! | variable | values | default |
//! |---|---|---|
//! | `LAB_ADDR` | `HOST:PORT` | `127.0.0.1:0` |
//! | `LAB_STORE` | `memory`, `redis://HOST:PORT`, of a cluster several with commas, `postgres://USER@HOST:PORT/DATABASE`, `sqlite:PATH` | `memory` |
//! | `LAB_LEASE_MS` | milliseconds | 30000 |
//! | `LAB_RETENTION_MS` | milliseconds | 86400000 |
//! | `LAB_IN_FLIGHT` | `reject`, `wait:MS` | `reject` |
//! | `LAB_AFTER_CRASH` | `takeover`, `hold` | `takeover` |
//! | `LAB_CONTRACT` | `default`, `ietf`, `stripe` | `default` |
//! | `LAB_FINGERPRINT` | `exact`, `json` | `exact`; with `LAB_KEY_FIELD` `json` |
//! | `LAB_KEY_FIELD` | the name of a field of a JSON body; the header still counts | none |
//! | `LAB_REQUIRE_KEY` | `0`, `1` | `0` |
//! | `LAB_MAX_REQUEST`, `LAB_MAX_RESPONSE` | bytes | 2 MiB, 1 MiB |
//! | `LAB_SCOPE` | `credentials`, `global` | `credentials` |
//! | `LAB_STORE_FAILURE` | `refuse`, `proceed` | `refuse` |
//! | `LAB_MAX_ENTRIES` | keys, of `memory` only | that of the store |
//! | `LAB_EFFECT_LOG` | a file | none |
//!
//! One that is empty is as one that is not there; any other name that begins with `LAB_` is
//! refused. Numbers are digits only.

use std::{
    env::{self, VarError},
    fs::{File, OpenOptions},
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
    str::FromStr,
    time::Duration,
};

use tower_idempotency::{
    AfterCrash, ExactFingerprint, HeaderKey, IdempotencyLayer, InFlight, JsonField,
    JsonFingerprint, Scope, SharedStore, StoreFailure, WireContract,
};

use crate::store::{self, Stats};

/// What the environment says.
pub(crate) struct Settings {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) effect_log: Option<File>,
    pub(crate) layer: IdempotencyLayer<SharedStore>,
    pub(crate) stats: Stats,
}

impl Settings {
    /// Reads the environment; an unknown value, or name, is an error that names it.
    pub(crate) async fn from_env() -> Result<Self, String> {
        names()?;
        let (addresses, effect_log) = (addresses()?, effect_log()?);
        let store = text("LAB_STORE")?.unwrap_or_else(|| "memory".to_owned());
        let opened = store::open(&store, number("LAB_MAX_ENTRIES")?).await?;
        Ok(Self {
            addresses,
            effect_log,
            layer: layer(opened.store)?,
            stats: opened.stats,
        })
    }
}

const NAMES: [&str; 16] = [
    "LAB_ADDR",
    "LAB_STORE",
    "LAB_LEASE_MS",
    "LAB_RETENTION_MS",
    "LAB_IN_FLIGHT",
    "LAB_AFTER_CRASH",
    "LAB_CONTRACT",
    "LAB_FINGERPRINT",
    "LAB_KEY_FIELD",
    "LAB_REQUIRE_KEY",
    "LAB_MAX_REQUEST",
    "LAB_MAX_RESPONSE",
    "LAB_SCOPE",
    "LAB_STORE_FAILURE",
    "LAB_MAX_ENTRIES",
    "LAB_EFFECT_LOG",
];

/// A setting whose name is misspelt would be left at its default.
fn names() -> Result<(), String> {
    let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let mut unknown = names.filter(|name| name.starts_with("LAB_") && !NAMES.contains(&&**name));
    match unknown.next() {
        Some(name) => Err(format!("{name}: unknown; known: {}", NAMES.join(", "))),
        None => Ok(()),
    }
}

fn addresses() -> Result<Vec<SocketAddr>, String> {
    let address = text("LAB_ADDR")?.unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let addresses = address.to_socket_addrs();
    addresses.map_or_else(
        |_| Err(unknown("LAB_ADDR", &address, "HOST:PORT")),
        |addresses| Ok(addresses.collect()),
    )
}

/// Each line is appended by one write.
fn effect_log() -> Result<Option<File>, String> {
    let Some(path) = env::var_os("LAB_EFFECT_LOG").filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let opened = OpenOptions::new().append(true).create(true).open(&path);
    let log = opened.map_err(|error| {
        let path = Path::new(&path).display();
        format!("LAB_EFFECT_LOG={path}: cannot be opened: {error}")
    })?;
    Ok(Some(log))
}

type Layer = IdempotencyLayer<SharedStore>;

fn layer(store: SharedStore) -> Result<Layer, String> {
    let mut layer = IdempotencyLayer::new(store)
        .contract(
            match one_of("LAB_CONTRACT", &["default", "ietf", "stripe"])? {
                "ietf" => WireContract::ietf(),
                "stripe" => WireContract::stripe(),
                _ => WireContract::default(),
            },
        )
        .after_crash(match one_of("LAB_AFTER_CRASH", &["takeover", "hold"])? {
            "hold" => AfterCrash::Hold,
            _ => AfterCrash::Takeover,
        })
        .store_failure(match one_of("LAB_STORE_FAILURE", &["refuse", "proceed"])? {
            "proceed" => StoreFailure::DangerProceed,
            _ => StoreFailure::Refuse,
        });
    layer = layer.in_flight(in_flight()?);
    layer = fingerprint(key_field(layer)?)?;
    if one_of("LAB_SCOPE", &["credentials", "global"])? == "global" {
        layer = layer.scope_fn(|_| Ok(Scope::global()));
    }
    if one_of("LAB_REQUIRE_KEY", &["0", "1"])? == "1" {
        layer = layer.require_key();
    }
    layer = set(layer, "LAB_LEASE_MS", |layer, ms| layer.lease(millis(ms)))?;
    layer = set(layer, "LAB_RETENTION_MS", |layer, ms| {
        layer.retention(millis(ms))
    })?;
    layer = set(layer, "LAB_MAX_REQUEST", Layer::max_request_body)?;
    set(layer, "LAB_MAX_RESPONSE", Layer::max_response_body)
}

fn key_field(layer: Layer) -> Result<Layer, String> {
    let header = match text("LAB_CONTRACT")?.as_deref() {
        Some("ietf") => HeaderKey::new().strict(),
        _ => HeaderKey::new(),
    };
    Ok(match text("LAB_KEY_FIELD")? {
        Some(name) => layer.key_source(JsonField::new(name).header(header)),
        None => layer,
    })
}

fn fingerprint(layer: Layer) -> Result<Layer, String> {
    let named = text("LAB_FINGERPRINT")?.is_some();
    Ok(match one_of("LAB_FINGERPRINT", &["exact", "json"])? {
        "json" => layer.fingerprint(JsonFingerprint::new()),
        _ if named => layer.fingerprint(ExactFingerprint::new()),
        _ => layer,
    })
}

fn in_flight() -> Result<InFlight, String> {
    let value = text("LAB_IN_FLIGHT")?.unwrap_or_else(|| "reject".to_owned());
    let budget = value.strip_prefix("wait:").and_then(digits);
    match (value.as_str(), budget) {
        ("reject", _) => Ok(InFlight::Reject),
        (_, Some(budget)) => Ok(InFlight::Wait(millis(budget))),
        _ => Err(unknown("LAB_IN_FLIGHT", &value, "reject or wait:MS")),
    }
}

fn set(layer: Layer, name: &str, setter: fn(Layer, u64) -> Layer) -> Result<Layer, String> {
    let value = number(name)?;
    if name == "LAB_LEASE_MS" && value == Some(0) {
        return Err(unknown(name, "0", "a number above 0"));
    }
    Ok(match value {
        Some(value) => setter(layer, value),
        None => layer,
    })
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn text(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(value)) => Err(unknown(name, &value.to_string_lossy(), "text")),
    }
}

fn number<T: FromStr>(name: &str) -> Result<Option<T>, String> {
    let Some(value) = text(name)? else {
        return Ok(None);
    };
    let number = digits(&value);
    number.map_or_else(
        || Err(unknown(name, &value, "a number")),
        |number| Ok(Some(number)),
    )
}

/// Without a sign, which the parser would take.
fn digits<T: FromStr>(value: &str) -> Option<T> {
    let digits_only = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|_| digits_only)
}

/// The value of a variable that takes one of `values`, of which the first is the default.
fn one_of(name: &str, values: &[&'static str]) -> Result<&'static str, String> {
    let Some(value) = text(name)? else {
        return Ok(values[0]);
    };
    let known = values.iter().find(|known| **known == value);
    known
        .copied()
        .ok_or_else(|| unknown(name, &value, &values.join(" or ")))
}

fn unknown(name: &str, value: &str, known: &str) -> String {
    format!("{name}={value}: unknown value; known: {known}")
}
