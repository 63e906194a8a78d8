//! A wire that can be cut.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
    select,
};

/// Passes connections on to `server`, and cuts the first of them when its answer comes:
/// what was asked has been done, and the client does not know. Where it listens.
pub(crate) async fn start(server: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(relay(listener, server));
    Ok(address)
}

async fn relay(listener: TcpListener, server: SocketAddr) -> io::Result<()> {
    let (client, _) = listener.accept().await?;
    cut_when_answered(client, server).await?;
    println!("  (the wire is cut)");
    loop {
        let (mut client, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut server = TcpStream::connect(server).await?;
            copy_bidirectional(&mut client, &mut server).await
        });
    }
}

async fn cut_when_answered(mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut from_client, _) = client.split();
    let (mut from_server, mut to_server) = server.split();
    select! {
        sent = copy(&mut from_client, &mut to_server) => sent.map(drop),
        answered = from_server.read_u8() => answered.map(drop),
    }
}
