//! A wire to the server that loses a `COMMIT` or the reply to it, or all notifications.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What happens to the next `COMMIT`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u8)]
pub(crate) enum Cut {
    Nothing,
    Request,
    Reply,
}

pub(crate) struct Proxy {
    port: u16,
    cut: Arc<AtomicU8>,
}

impl Proxy {
    pub(crate) async fn start(url: &str) -> Self {
        let cut = Arc::new(AtomicU8::new(Cut::Nothing as u8));
        let next = Arc::clone(&cut);
        let port = listen(url, move |client, server| {
            cut_at_commit(client, server, Arc::clone(&next))
        });
        Self {
            port: port.await,
            cut,
        }
    }

    /// One that no notification passes.
    pub(crate) async fn deaf(url: &str) -> Self {
        let cut = Arc::default();
        let port = listen(url, without_notifications).await;
        Self { port, cut }
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable",
            self.port
        )
    }

    pub(crate) fn cut_next_commit(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }
}

/// Has each connection to the port returned forwarded to the server at `url`.
async fn listen<F>(url: &str, forward: impl Fn(TcpStream, TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = Option<()>> + Send + 'static,
{
    let (_, server) = url.split_once('@').unwrap();
    let server = server.split_once('/').unwrap().0.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(forward(client, server));
        }
    });
    port
}

async fn cut_at_commit(
    mut client: TcpStream,
    mut server: TcpStream,
    cut: Arc<AtomicU8>,
) -> Option<()> {
    let (mut asked, mut answered) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let bytes = &asked[..read.ok().filter(|read| *read > 0)?];
                let commits = bytes.windows(6).any(|window| window == b"COMMIT");
                let meant = if commits { cut.swap(Cut::Nothing as u8, Ordering::SeqCst) } else { 0 };
                if meant == Cut::Request as u8 {
                    return None;
                }
                server.write_all(bytes).await.ok()?;
                if meant == Cut::Reply as u8 {
                    server.readable().await.ok()?;
                    return None;
                }
            }
            read = server.read(&mut answered) => {
                let bytes = &answered[..read.ok().filter(|read| *read > 0)?];
                client.write_all(bytes).await.ok()?;
            }
        }
    }
}

/// A message of the server is a letter, its length with that length, and so much.
async fn without_notifications(client: TcpStream, server: TcpStream) -> Option<()> {
    let (mut asked, mut client) = client.into_split();
    let (mut server, mut asks) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut asked, &mut asks).await });
    loop {
        let letter = server.read_u8().await.ok()?;
        let length = server.read_u32().await.ok()?;
        let mut rest = vec![0; usize::try_from(length).ok()? - 4];
        server.read_exact(&mut rest).await.ok()?;
        if letter != b'A' {
            client.write_u8(letter).await.ok()?;
            client.write_u32(length).await.ok()?;
            client.write_all(&rest).await.ok()?;
        }
    }
}
