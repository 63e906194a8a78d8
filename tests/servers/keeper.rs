//! A process that a test starts, signals and starts again.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Keeps one server process and its directory. Both are gone when this is dropped, and also
/// when the test process is killed: a shell holds the other end of a pipe.
pub struct Keeper {
    shell: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    directory: PathBuf,
}

/// What a test does to a server.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// The power cord.
    Kill,
    Terminate,
    /// It stands still until [`Signal::Continue`].
    Stop,
    Continue,
}

/// Obeys orders read from stdin; at their end ends the server, too.
const SHELL: &str = r#"
directory=$1 end=$2
shift 2
pid=
while read -r order signal; do
    case $order in
        start)
            # Forgets a child that has ended; else it would still take signals.
            jobs >/dev/null
            if ! kill -s 0 "$pid" 2>/dev/null; then
                "$@" >>"$directory/log" 2>&1 </dev/null & pid=$!
            fi ;;
        signal) kill -s "$signal" "$pid" 2>/dev/null ;;
        wait) wait "$pid" 2>/dev/null ;;
    esac
    echo "$pid"
done
if [ -n "$pid" ]; then
    kill -s CONT "$pid" 2>/dev/null
    kill -s "$end" "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
fi
rm -rf "$directory"
"#;

impl Keeper {
    /// Keeps `command` in `directory`, which becomes its own; `end` is the signal that ends
    /// it in the end. It is not started yet.
    pub fn new(directory: PathBuf, end: &str, command: &[String]) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", SHELL, "sh"])
            .arg(&directory)
            .arg(end)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = shell.stdin.take();
        let replies = BufReader::new(shell.stdout.take().unwrap());
        Self {
            shell,
            orders,
            replies,
            directory,
        }
    }

    /// Starts it, and waits until it is `ready`. Where it ends at once it is started again: what
    /// is left of one that was killed may still be in its way.
    ///
    /// # Panics
    ///
    /// If it is not within 30 s.
    pub fn start(&mut self, ready: impl Fn() -> bool) {
        self.order("start");
        let began = Instant::now();
        while !ready() {
            let log = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(30), "{}", log());
            thread::sleep(Duration::from_millis(20));
            self.order("start");
        }
    }

    /// Sends it a signal, and after one that ends it waits for its end.
    pub fn signal(&mut self, signal: Signal) {
        let (name, ends) = match signal {
            Signal::Kill => ("KILL", true),
            Signal::Terminate => ("TERM", true),
            Signal::Stop => ("STOP", false),
            Signal::Continue => ("CONT", false),
        };
        self.order(&format!("signal {name}"));
        if ends {
            self.order("wait");
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it wrote to stdout and stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap()
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        self.replies.read_line(&mut String::new()).unwrap();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The end of its orders is the order to end.
        self.orders = None;
        let _ = self.shell.wait();
    }
}

/// A directory of its own for a server.
pub fn directory(name: &str) -> PathBuf {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = env::temp_dir().join(format!("{name}-{}-{number}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// A port that is free, from a range out of which no client is given one.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = process::id().wrapping_mul(37);
    loop {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(first.wrapping_add(next) % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
