//! A node: a runtime of its own with a clock of its own, which can crash, freeze, and go on.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    time::{self, Instant},
};
use tower_idempotency::{Event, IdempotencyLayer, SharedStore};

use super::{ledger::Told, link::Link, network::Network, settings::Site};

/// What all share; nobody runs at the same time as another.
#[derive(Clone)]
pub struct World(Arc<Mutex<Network>>);

impl World {
    pub fn new(network: Network) -> Self {
        Self(Arc::new(Mutex::new(network)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Network> {
        self.0.lock().unwrap()
    }
}

/// The time of one node, in milliseconds since the beginning of all.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    began_at: u64,
    /// Since when it stands, as the node is dead.
    stopped: AtomicU64,
}

impl Clock {
    pub fn now(&self) -> u64 {
        match self.stopped.load(Ordering::Relaxed) {
            0 => self.began_at + u64::try_from(self.began.elapsed().as_millis()).unwrap(),
            stopped => stopped,
        }
    }

    fn moment(&self, at: u64) -> Instant {
        self.began + Duration::from_millis(at - self.began_at)
    }
}

pub struct Node {
    pub life: usize,
    pub layers: [IdempotencyLayer<SharedStore>; 2],
    pub clock: Arc<Clock>,
    /// How far it has come.
    pub at: u64,
    pub frozen: bool,
    pub draining: bool,
    pub runtime: Runtime,
    sends: Arc<Notify>,
}

impl Node {
    pub fn start(world: &World, life: usize, at: u64, site: &Site) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let began = runtime.block_on(async { Instant::now() });
        let clock = Arc::new(Clock {
            began,
            began_at: at,
            stopped: AtomicU64::new(0),
        });
        let sends = Arc::new(Notify::new());
        let link = Link::new(
            world.clone(),
            life,
            site.wrappers,
            Arc::clone(&clock),
            Arc::clone(&sends),
        );
        let (told, now) = (world.clone(), Arc::clone(&clock));
        let layer = IdempotencyLayer::new(site.wrappers.around(link)).observer_fn(move |event| {
            let mut network = told.lock();
            if let Some(told) = tell(event, life, now.now(), &network) {
                network.say(told.at, || {
                    format!("life {life} TELLS {} f{}", told.name, told.fence)
                });
                network.ledger.events.push(told);
            }
        });
        let layers = site.layers.map(|settings| settings.set(layer.clone()));
        Self {
            life,
            layers,
            clock,
            at,
            frozen: false,
            draining: false,
            runtime,
            sends,
        }
    }

    /// Runs until then, or until it has sent something.
    pub fn run_until(&mut self, at: u64) {
        let (clock, sends) = (&self.clock, &self.sends);
        self.at = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = sends.notified() => {}
                () = time::sleep_until(clock.moment(at)) => {}
            }
            clock.now()
        });
    }

    /// Goes on at another time: its timers are late.
    pub fn thaw(&mut self, at: u64) {
        self.frozen = false;
        let late = Duration::from_millis(at.saturating_sub(self.at));
        self.runtime.block_on(time::advance(late));
        self.at = self.at.max(at);
    }

    /// All that it does ends here.
    pub fn crash(self, at: u64) {
        self.clock.stopped.store(at.max(1), Ordering::Relaxed);
        drop(self.runtime);
    }
}

/// What of it the judge wants to know.
fn tell(event: &Event<'_>, life: usize, at: u64, network: &Network) -> Option<Told> {
    let (key, fence) = match event {
        Event::Claimed { key, fence, .. } | Event::LeaseLost { key, fence, .. } => {
            (key, fence.get())
        }
        Event::Replayed { key, .. }
        | Event::Recorded { key, .. }
        | Event::Released { key, .. }
        | Event::Sealed { key, .. }
        | Event::Unrecorded { key, .. }
        | Event::Unprotected { key, .. }
        | Event::Abandoned { key, .. } => (key, 0),
        _ => return None,
    };
    Some(Told {
        life,
        at,
        key: network.shadow.keys[*key],
        name: event.name(),
        fence,
    })
}
