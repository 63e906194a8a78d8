//! A bad wire: a TCP proxy that strikes once.

use std::{
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, watch},
    task::JoinSet,
};

/// Forwards to a server on this machine, and does one thing wrong when told to. What the
/// client writes at once counts as a request.
///
/// A connection that was struck stays as it is, silent, until the proxy is
/// [healed](Self::heal). Dropping the proxy cuts every connection.
pub struct Proxy {
    port: u16,
    wire: Arc<Wire>,
    _accepting: JoinSet<()>,
}

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It never arrives, and nothing else does on its connection.
    DropRequest,
    /// It arrives, and no reply to it comes back, nor anything else.
    DropReply,
    /// It arrives after this time.
    Delay(Duration),
    /// It arrives, and then the connection is reset.
    Reset,
    /// It arrives when the proxy is healed, and so does all that follows, on whatever
    /// connection.
    Hold,
}

/// What the connections of a proxy share.
struct Wire {
    upstream: AtomicU16,
    plan: Mutex<Plan>,
    struck: Notify,
    /// What was held has arrived.
    arrived: Notify,
    /// How often the proxy was healed.
    healed: watch::Sender<u32>,
}

/// What is to go wrong.
enum Plan {
    Nothing,
    /// The fault to come, and how many requests until then.
    Strike(u32, Fault),
    /// Everything is held.
    Hold,
}

impl Proxy {
    /// A proxy that forwards to `port`.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let wire = Arc::new(Wire {
            upstream: AtomicU16::new(port),
            plan: Mutex::new(Plan::Nothing),
            struck: Notify::new(),
            arrived: Notify::new(),
            healed: watch::Sender::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&wire)));
        Self {
            port: own_port,
            wire,
            _accepting: accepting,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has new connections forwarded to another port; those there are stay.
    pub fn lead_to(&self, port: u16) {
        self.wire.upstream.store(port, Ordering::SeqCst);
    }

    /// Has the `nth` request from now strike, counted from 1.
    pub fn arm(&self, nth: u32, fault: Fault) {
        *self.wire.plan.lock().unwrap() = Plan::Strike(nth, fault);
    }

    /// Returns once the fault has struck.
    pub async fn struck(&self) {
        self.wire.struck.notified().await;
    }

    /// Returns once what was held has arrived.
    pub async fn arrived(&self) {
        self.wire.arrived.notified().await;
    }

    /// Whether a request was held, and still is.
    pub fn holds(&self) -> bool {
        self.wire.holds()
    }

    /// From now on everything goes right: what was struck is cut, what was held arrives.
    pub fn heal(&self) {
        *self.wire.plan.lock().unwrap() = Plan::Nothing;
        self.wire.healed.send_modify(|times| *times += 1);
    }
}

impl Wire {
    /// The fault that strikes this request.
    fn next(&self) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap();
        match &mut *plan {
            Plan::Nothing => return None,
            Plan::Hold => return Some(Fault::Hold),
            Plan::Strike(left, _) if *left > 1 => {
                *left -= 1;
                return None;
            }
            Plan::Strike(..) => {}
        }
        self.struck.notify_one();
        match mem::replace(&mut *plan, Plan::Nothing) {
            Plan::Strike(_, Fault::Hold) => {
                *plan = Plan::Hold;
                Some(Fault::Hold)
            }
            Plan::Strike(_, fault) => Some(fault),
            Plan::Nothing | Plan::Hold => None,
        }
    }

    /// Whether what comes is held for now.
    fn holds(&self) -> bool {
        matches!(*self.plan.lock().unwrap(), Plan::Hold)
    }
}

async fn accept(listener: TcpListener, wire: Arc<Wire>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(serve(client, Arc::clone(&wire)));
    }
}

/// How a connection fares.
enum Fate {
    Ended,
    /// Both ends stay open, and nothing moves.
    Silent,
    Reset,
}

async fn serve(client: TcpStream, wire: Arc<Wire>) {
    let mut healed = wire.healed.subscribe();
    healed.mark_unchanged();
    let upstream = wire.upstream.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else {
        return;
    };
    let (client_read, mut client_write) = client.into_split();
    let (mut server_read, server_write) = server.into_split();
    let requests = forward(client_read, server_write, &wire, &mut healed);
    let replies = tokio::io::copy(&mut server_read, &mut client_write);
    let fate = tokio::select! {
        biased;
        (fate, client_read, server_write) = requests => (fate, client_read, server_write),
        _ = replies => return,
    };
    match fate {
        (Fate::Ended, ..) => {}
        (Fate::Silent, ..) => drop(healed.changed().await),
        (Fate::Reset, client_read, _server_write) => {
            let client = client_read.reunite(client_write).unwrap();
            let _ = client.set_zero_linger();
        }
    }
}

/// Forwards what the client asks, until something ends that.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    wire: &Wire,
    healed: &mut watch::Receiver<u32>,
) -> (Fate, OwnedReadHalf, OwnedWriteHalf) {
    let mut request = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut request).await.unwrap_or(0);
        if count == 0 {
            return (Fate::Ended, from, to);
        }
        let fault = wire.next();
        let held = matches!(fault, Some(Fault::Hold));
        let fate = match fault {
            Some(Fault::DropRequest) => return (Fate::Silent, from, to),
            Some(Fault::DropReply) => Some(Fate::Silent),
            Some(Fault::Reset) => Some(Fate::Reset),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                None
            }
            Some(Fault::Hold) => {
                drop(healed.changed().await);
                None
            }
            None => None,
        };
        if to.write_all(&request[..count]).await.is_err() {
            return (Fate::Ended, from, to);
        }
        if held {
            wire.arrived.notify_one();
        }
        if let Some(fate) = fate {
            return (fate, from, to);
        }
    }
}
