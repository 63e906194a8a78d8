//! Processes of a test: its own program again, told by the environment to be the other side.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

const TEST: &str = "TOWER_IDEMPOTENCY_SQLITE_TEST";
const FILE: &str = "TOWER_IDEMPOTENCY_SQLITE_FILE";

/// A process that was started, and what it prints.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this program to run `test`, which then finds that it is about a [`file`].
    pub(crate) fn start(test: &str, file: &Path) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(["--exact", test, "--nocapture"])
            .env(TEST, test)
            .env(FILE, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            stdin,
            lines,
        }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
        self.stdin.flush().unwrap();
    }

    /// The next line that tells something, and not what the test harness prints.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("told: ").map(str::to_owned))
    }

    /// Kills it as `kill -9` does; all it printed before.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let rest = std::iter::from_fn(|| self.next()).collect();
        self.child.wait().unwrap();
        rest
    }

    /// All it prints until it ends well.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let rest = std::iter::from_fn(|| self.next()).collect();
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a child of `test`: the file it is about; `None` in the parent.
pub(crate) fn file(test: &str) -> Option<String> {
    let told = std::env::var(TEST).ok()?;
    (told == test).then(|| std::env::var(FILE).unwrap())
}

/// In a child: tells the parent, at once.
pub(crate) fn tell(line: &str) {
    println!("told: {line}");
    std::io::stdout().flush().unwrap();
}

/// In a child: waits until it is told something.
pub(crate) fn wait() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}
