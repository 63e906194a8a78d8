//! A Redis server.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use super::keeper::{Keeper, Signal, directory, free_port};

/// A Redis server, with an append-only file that is synced at each write unless told
/// otherwise.
pub struct RedisServer {
    keeper: Keeper,
    port: u16,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more options, as on its command line: `["--maxmemory-policy", "allkeys-lru"]`.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_on(free_port(), options)
    }

    pub fn start_on(port: u16, options: &[&str]) -> Self {
        let directory = directory("redis");
        let port_text = port.to_string();
        let mut command = vec!["redis-server", "--port", &port_text, "--bind", "127.0.0.1"];
        command.extend(["--dir", directory.to_str().unwrap(), "--save", ""]);
        command.extend(["--appendonly", "yes", "--appendfsync", "always"]);
        command.extend(options);
        let command: Vec<_> = command.into_iter().map(str::to_owned).collect();
        let keeper = Keeper::new(directory, "KILL", &command);
        let mut server = Self { keeper, port };
        server.start_again();
        server
    }

    /// After it was ended, on the same port with the same data.
    pub fn start_again(&mut self) {
        let port = self.port;
        self.keeper.start(|| answers(port));
    }

    pub fn signal(&mut self, signal: Signal) {
        self.keeper.signal(signal);
    }

    /// What it answers to a command, as `redis-cli` shows it.
    pub fn cli(&self, command: &str) -> String {
        let port = self.port.to_string();
        let words = command.split(' ');
        let output = Command::new("redis-cli")
            .args(["-p", &port])
            .args(words)
            .output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Whether it serves: while it loads its data it answers with an error.
fn answers(port: u16) -> bool {
    let asked = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"PING\r\n")?;
        let mut reply = vec![0; 5];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    };
    asked().is_ok_and(|reply| reply == b"+PONG")
}
