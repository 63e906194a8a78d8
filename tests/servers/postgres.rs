//! A PostgreSQL server.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::keeper::{Keeper, Signal, directory, free_port};

/// A PostgreSQL server that trusts everybody, with a superuser and a database that are both
/// called `postgres`.
pub struct PostgresServer {
    keeper: Keeper,
    port: u16,
}

impl PostgresServer {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more settings: `["synchronous_commit=off"]`.
    pub fn start_with(settings: &[&str]) -> Self {
        let (port, directory) = (free_port(), directory("postgres"));
        let data = directory.join("data");
        let user = User::of_server();
        user.own(&directory);
        user.run(
            "initdb",
            &["--auth=trust", "--username=postgres", "--no-sync"],
            &data,
        );
        let (port_text, data_text) = (port.to_string(), data.to_str().unwrap().to_owned());
        let mut command = user.command("postgres");
        command.extend(["-D".to_owned(), data_text, "-p".to_owned(), port_text]);
        let usual = ["listen_addresses=127.0.0.1", "unix_socket_directories="];
        for setting in usual.iter().chain(settings) {
            command.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        let keeper = Keeper::new(directory, "QUIT", &command);
        let mut server = Self { keeper, port };
        server.start_again();
        server
    }

    /// After it was ended, on the same port with the same data.
    pub fn start_again(&mut self) {
        let port = self.port.to_string();
        self.keeper.start(|| {
            let mut asked = Command::new(program("pg_isready"));
            asked.args(["-q", "-h", "127.0.0.1", "-p", &port]);
            asked.status().unwrap().success()
        });
    }

    /// Has it follow a primary that never comes.
    pub fn become_standby(&mut self) {
        self.signal(Signal::Kill);
        fs::write(self.data().join("standby.signal"), "").unwrap();
        self.start_again();
    }

    pub fn signal(&mut self, signal: Signal) {
        self.keeper.signal(signal);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Where its data are, to make a standby of it or to change its settings.
    pub fn data(&self) -> PathBuf {
        self.keeper.directory().join("data")
    }
}

/// Who runs the server, which refuses to be run by root.
pub enum User {
    Myself,
    Postgres,
}

impl User {
    pub fn of_server() -> Self {
        match &*text(Command::new("id").arg("-u").output().unwrap()) {
            "0" => Self::Postgres,
            _ => Self::Myself,
        }
    }

    /// Gives it a directory.
    pub fn own(&self, directory: &Path) {
        if let Self::Postgres = self {
            let mut chown = Command::new("chown");
            text(chown.arg("postgres:").arg(directory).output().unwrap());
        }
    }

    /// What a command line begins with that is run as this user.
    pub fn identity(&self) -> Vec<String> {
        let identity: &[&str] = match self {
            Self::Myself => &[],
            Self::Postgres => &[
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
            ],
        };
        identity.iter().map(|&word| word.to_owned()).collect()
    }

    /// The command line of a program of PostgreSQL, as this user.
    pub fn command(&self, name: &str) -> Vec<String> {
        let mut command = self.identity();
        command.push(program(name).to_str().unwrap().to_owned());
        command
    }

    /// Runs a program of PostgreSQL on a data directory.
    pub fn run(&self, name: &str, options: &[&str], data: &Path) {
        let command = self.command(name);
        let mut command_line = Command::new(&command[0]);
        command_line.args(&command[1..]).args(options);
        text(command_line.arg("-D").arg(data).output().unwrap());
    }
}

/// Debian keeps them off the path, in a directory for each version.
pub fn program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|directory| directory.join(name));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let installed = versions.map(|version| version.unwrap().path().join("bin").join(name));
    let mut found = installed.chain(on_path).filter(|program| program.is_file());
    found.next().expect("PostgreSQL is installed")
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
