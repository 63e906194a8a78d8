//! The one connection on which a store hears that leases end.
//!
//! All wake-ups go through one channel, which names the key: no waiter pays for a
//! subscription of its own, and one that comes later is heard for at once.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_core::Stream as _;
use redis::{Msg, aio::PubSubStream};
use tokio::{
    sync::{Notify, futures::Notified, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::servers::Servers;

/// How long the first waiter waits for the connection before it goes on without.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a connection may be silent before it is tried. What any node says ends the
/// silence of all.
const SILENCE: Duration = Duration::from_secs(5);

type Bells = Mutex<HashMap<String, Arc<Notify>>>;

pub(super) struct Wakeups {
    channel: String,
    bells: Arc<Bells>,
    listener: Mutex<Option<Listener>>,
}

/// The task that holds the connection. It ends with the store, or with its runtime.
struct Listener {
    task: JoinHandle<()>,
    hearing: watch::Receiver<bool>,
}

/// One waiter's place at a key.
pub(super) struct Bell<'a> {
    bells: &'a Bells,
    name: &'a str,
    bell: Arc<Notify>,
}

impl Wakeups {
    pub(super) fn new(channel: String) -> Self {
        Self {
            channel,
            bells: Arc::default(),
            listener: Mutex::new(None),
        }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn bell<'a>(&'a self, name: &'a str) -> Bell<'a> {
        let mut bells = lock(&self.bells);
        let bell = Arc::clone(bells.entry(name.to_owned()).or_default());
        let bells = &*self.bells;
        Bell { bells, name, bell }
    }

    /// Whether anything is heard, from now on. Waits a while for the connection.
    pub(super) async fn hearing(&self, servers: &Arc<Servers>) -> watch::Receiver<bool> {
        let mut hearing = self.listen(servers);
        let _ = timeout(PATIENCE, hearing.wait_for(|hears| *hears)).await;
        hearing
    }

    fn listen(&self, servers: &Arc<Servers>) -> watch::Receiver<bool> {
        let mut listener = lock(&self.listener);
        if let Some(listener) = &*listener {
            if !listener.task.is_finished() {
                return listener.hearing.clone();
            }
        }
        let (hears, hearing) = watch::channel(false);
        let (servers, bells) = (Arc::clone(servers), Arc::clone(&self.bells));
        let task = tokio::spawn(listen(servers, self.channel.clone(), bells, hears));
        let heard = hearing.clone();
        *listener = Some(Listener { task, hearing });
        heard
    }
}

impl Drop for Wakeups {
    fn drop(&mut self) {
        if let Some(listener) = lock(&self.listener).take() {
            listener.task.abort();
        }
    }
}

impl Bell<'_> {
    /// Ready once the bell rings after this call.
    pub(super) fn rung(&self) -> Notified<'_> {
        self.bell.notified()
    }
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        let mut bells = lock(self.bells);
        // One stands in the map, one here.
        if Arc::strong_count(&self.bell) == 2 {
            bells.remove(self.name);
        }
    }
}

async fn listen(
    servers: Arc<Servers>,
    channel: String,
    bells: Arc<Bells>,
    hears: watch::Sender<bool>,
) {
    loop {
        if let Some(mut stream) = subscribe(&servers, &channel).await {
            hears.send_replace(true);
            while let Some(message) = next(&mut stream, &servers, &channel).await {
                ring(&bells, &message);
            }
            hears.send_replace(false);
        }
        sleep(PAUSE).await;
    }
}

/// A connection that has heard something: `SUBSCRIBE` looks successful also where the
/// server has refused it.
async fn subscribe(servers: &Servers, channel: &str) -> Option<PubSubStream> {
    let (mut sink, mut stream) = servers.listen(PATIENCE).await.ok()?.split();
    let subscribed = timeout(PATIENCE, sink.subscribe(channel)).await;
    subscribed.ok()?.ok()?;
    echo(&mut stream, servers, channel).await?;
    Some(stream)
}

/// The next message; `None` if nothing is heard any more.
async fn next(stream: &mut PubSubStream, servers: &Servers, channel: &str) -> Option<Msg> {
    match timeout(SILENCE, message(stream)).await {
        Ok(message) => message,
        Err(_) => echo(stream, servers, channel).await,
    }
}

/// Calls out, and hears that or something else.
async fn echo(stream: &mut PubSubStream, servers: &Servers, channel: &str) -> Option<Msg> {
    servers.publish(channel, PATIENCE).await.ok()?;
    timeout(PATIENCE, message(stream)).await.ok()?
}

async fn message(stream: &mut PubSubStream) -> Option<Msg> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

fn ring(bells: &Bells, message: &Msg) {
    let Ok(name) = std::str::from_utf8(message.get_payload_bytes()) else {
        return;
    };
    if let Some(bell) = lock(bells).get(name) {
        bell.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
