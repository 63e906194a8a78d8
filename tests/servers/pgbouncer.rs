//! A pooler before a PostgreSQL server.

use std::{env, fs, net::TcpStream, process::Command};

use super::{
    keeper::{Keeper, directory, free_port},
    postgres::User,
};

/// A PgBouncer that lets everybody in, as the superuser `postgres`.
pub struct PgBouncer {
    _keeper: Keeper,
    port: u16,
}

impl PgBouncer {
    /// Before the server at `server`, with these settings, as they stand in its file:
    /// `["pool_mode=session"]`.
    pub fn start(server: u16, settings: &[&str]) -> Self {
        let (port, directory) = (free_port(), directory("pgbouncer"));
        let file = directory.join("pgbouncer.ini");
        let usual = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={server} user=postgres\n\
             [pgbouncer]\n\
             listen_addr=127.0.0.1\n\
             listen_port={port}\n\
             unix_socket_dir=\n\
             auth_type=any\n\
             default_pool_size=200\n\
             max_client_conn=1000\n"
        );
        fs::write(&file, usual + &settings.join("\n") + "\n").unwrap();
        let user = User::of_server();
        user.own(&directory);
        let mut command = user.identity();
        command.extend([program(), file.to_str().unwrap().to_owned()]);
        let mut keeper = Keeper::new(directory, "KILL", &command);
        keeper.start(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self {
            _keeper: keeper,
            port,
        }
    }

    /// Whether this version, which begins with 1.21, can keep track of prepared statements.
    pub fn tracks_statements() -> bool {
        let said = Command::new(program()).arg("--version").output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let version = said.split_whitespace().nth(1).unwrap();
        let mut numbers = version.split('.').map(|it| it.parse::<u32>().unwrap());
        (numbers.next(), numbers.next()) >= (Some(1), Some(21))
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// Debian keeps it where only root looks.
fn program() -> String {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin".into()]);
    let mut found = directories.map(|directory| directory.join("pgbouncer"));
    let program = found.find(|program| program.is_file());
    let program = program.expect("PgBouncer is installed");
    program.to_str().unwrap().to_owned()
}
