//! Building the lab, starting it, and reading its log.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::sleep,
};

use crate::outside::{Connection, Raw, example, soon};

/// A lab that runs, and its effect log. Killed when dropped.
pub(crate) struct Lab {
    pub(crate) child: Child,
    pub(crate) first_line: String,
    log: Log,
}

/// A file of its own; gone when dropped.
struct Log(PathBuf);

impl Lab {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(settings, Log::new()).await
    }

    /// Another lab that goes on with the same log.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_with(&[]).await
    }

    pub(crate) async fn restarted_with(self, settings: &[(&str, &str)]) -> Self {
        Self::start_with(settings, self.log).await
    }

    async fn start_with(settings: &[(&str, &str)], log: Log) -> Self {
        let mut command = command(settings);
        command.env("LAB_EFFECT_LOG", &log.0).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let first_line = soon(stdout.next_line()).await.unwrap();
        Self {
            child,
            first_line: first_line.expect("the lab says where it listens"),
            log,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.first_line.strip_prefix("listening on http://");
        address.unwrap().parse().unwrap()
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.address()).await
    }

    /// POSTs `1` to `target` under `key`, on a connection of its own.
    pub(crate) async fn ask(&self, target: &str, key: &str) -> Raw {
        self.asking(target, key).await
    }

    /// The same, for a task of its own.
    pub(crate) fn asking(&self, target: &str, key: &str) -> impl Future<Output = Raw> + use<> {
        let request = request("POST", target, &format!("idempotency-key: {key}\r\n"), "1");
        let address = self.address();
        async move { Connection::open(address).await.ask(&request).await }
    }

    /// The same twice: the first answer, and what a retry gets.
    pub(crate) async fn ask_twice(&self, target: &str) -> [Raw; 2] {
        [self.ask(target, "k").await, self.ask(target, "k").await]
    }

    /// The lines of the effect log.
    pub(crate) fn effects(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits until the log has this many lines.
    pub(crate) async fn until_effects(&self, count: usize) {
        let enough = async {
            while self.effects().len() < count {
                sleep(Duration::from_millis(2)).await;
            }
        };
        soon(enough).await;
    }

    pub(crate) async fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.unwrap().success());
    }

    pub(crate) async fn exited(&mut self) -> ExitStatus {
        soon(self.status()).await
    }

    /// However long that takes.
    pub(crate) async fn status(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }
}

/// A request as text.
pub(crate) fn request(method: &str, target: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: lab\r\nte: trailers\r\n\
         content-length: {length}\r\n{fields}\r\n{body}"
    )
}

/// The lab with these settings and no others.
pub(crate) fn command(settings: &[(&str, &str)]) -> Command {
    static LAB: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(LAB.get_or_init(|| example("lab", &features())));
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("LAB_") {
            command.env_remove(name);
        }
    }
    command.envs(settings.iter().copied()).kill_on_drop(true);
    command
}

/// The features of the lab that this test has, too.
fn features() -> String {
    let stores = [
        ("redis", cfg!(feature = "redis")),
        ("postgres", cfg!(feature = "postgres")),
        ("sqlite", cfg!(feature = "sqlite")),
    ];
    let stores = stores.iter().filter(|(_, is_there)| *is_there);
    let names: Vec<_> = stores.map(|(name, _)| *name).collect();
    [&["axum"], &*names].concat().join(",")
}

impl Log {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("effects-{}-{next}.log", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn lines(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.0).unwrap();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
