//! The store that `LAB_STORE` names.

use tower_idempotency::{MemoryStore, SharedStore};

/// A store, and what it can tell of itself.
pub(crate) struct Opened {
    pub(crate) store: SharedStore,
    pub(crate) stats: Stats,
}

/// What a store can tell of itself. One in another process tells nothing.
#[derive(Clone)]
pub(crate) struct Stats(Option<MemoryStore>);

impl Stats {
    pub(crate) fn entries(&self) -> Option<usize> {
        self.0.as_ref().map(MemoryStore::len)
    }

    pub(crate) fn bytes(&self) -> Option<u64> {
        self.0.as_ref().map(MemoryStore::bytes)
    }
}

/// Opens the store with this name: `memory`, or a URL.
pub(crate) async fn open(name: &str, max_entries: Option<usize>) -> Result<Opened, String> {
    if name == "memory" {
        return Ok(memory(max_entries));
    }
    if max_entries.is_some() {
        return Err("LAB_MAX_ENTRIES: only LAB_STORE=memory takes it".to_owned());
    }
    let opened = match name.split_once(':') {
        Some(("redis" | "rediss", rest)) if rest.starts_with("//") => redis(name).await,
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => postgres(name).await,
        Some(("sqlite", path)) if !path.is_empty() => sqlite(path).await,
        _ => Err(format!("unknown value; known: {KNOWN}")),
    };
    let store = opened.map_err(|error| match name.split_once(':') {
        // The rest of a URL may hold a password.
        Some((scheme, _)) => format!("LAB_STORE={scheme}:…: {error}"),
        None => format!("LAB_STORE={name}: {error}"),
    })?;
    let stats = Stats(None);
    Ok(Opened { store, stats })
}

const KNOWN: &str = "memory, redis://HOST:PORT, postgres://USER@HOST:PORT/DATABASE or sqlite:PATH";

fn memory(max_entries: Option<usize>) -> Opened {
    let store = match max_entries {
        Some(entries) => MemoryStore::new().max_entries(entries),
        None => MemoryStore::new(),
    };
    Opened {
        store: SharedStore::new(store.clone()),
        stats: Stats(Some(store)),
    }
}

/// One server; or, with commas between them, some of a cluster.
#[cfg(feature = "redis")]
async fn redis(urls: &str) -> Result<SharedStore, String> {
    use tower_idempotency::RedisStore;

    let connected = match urls.contains(',') {
        true => RedisStore::connect_cluster(urls.split(',')).await,
        false => RedisStore::connect(urls).await,
    };
    let store = connected.map_err(|error| error.to_string())?;
    Ok(SharedStore::new(store))
}

#[cfg(not(feature = "redis"))]
async fn redis(_: &str) -> Result<SharedStore, String> {
    Err("this lab was built without the feature redis".to_owned())
}

#[cfg(feature = "sqlite")]
async fn sqlite(path: &str) -> Result<SharedStore, String> {
    use tower_idempotency::SqliteStore;

    let opened = SqliteStore::open(path).await;
    let store = opened.map_err(|error| error.to_string())?;
    Ok(SharedStore::new(store))
}

#[cfg(not(feature = "sqlite"))]
async fn sqlite(_: &str) -> Result<SharedStore, String> {
    Err("this lab was built without the feature sqlite".to_owned())
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str) -> Result<SharedStore, String> {
    let connected = tower_idempotency::PostgresStore::connect(url).await;
    connected.map(SharedStore::new).map_err(|error| {
        let cause = std::error::Error::source(&error);
        let cause = cause.map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    })
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_: &str) -> Result<SharedStore, String> {
    Err("this lab was built without the feature postgres".to_owned())
}
