//! A wire between a client and the lab, with a fate for each connection.

use std::{collections::VecDeque, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
    select,
    sync::oneshot,
};

pub(crate) enum Fate {
    /// The lab answers, and its answer is lost.
    LoseAnswer,
    /// The lab answers, and this arrives in the place of its answer.
    Answer(&'static str),
    /// The lab is not asked, and this arrives.
    AnswerUnasked(&'static str),
    /// The lab is asked, and the connection is cut when the test says so.
    CutWhen(oneshot::Receiver<()>),
}

/// Listens in front of the lab. Connections beyond the fates are passed on.
pub(crate) async fn relay<const N: usize>(lab: SocketAddr, fates: [Fate; N]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut fates = VecDeque::from(fates);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(lab).await.unwrap();
            tokio::spawn(meet(fates.pop_front(), client, server));
        }
    });
    address
}

/// Either side may close at any time.
async fn meet(fate: Option<Fate>, mut client: TcpStream, mut server: TcpStream) {
    match fate {
        None => drop(copy_bidirectional(&mut client, &mut server).await),
        Some(Fate::LoseAnswer) => answered(&mut client, &mut server).await,
        Some(Fate::Answer(answer)) => {
            answered(&mut client, &mut server).await;
            drop(client.write_all(answer.as_bytes()).await);
        }
        Some(Fate::AnswerUnasked(answer)) => {
            let mut request = [0; 4096];
            drop(client.read(&mut request).await);
            drop(client.write_all(answer.as_bytes()).await);
        }
        Some(Fate::CutWhen(cut)) => select! {
            () = answered(&mut client, &mut server) => panic!("answered before the cut"),
            _ = cut => {}
        },
    }
}

/// Passes the request on until the answer begins to come.
async fn answered(client: &mut TcpStream, server: &mut TcpStream) {
    let (mut from_client, _) = client.split();
    let (mut from_server, mut to_server) = server.split();
    select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = from_server.read_u8() => {}
    }
}
