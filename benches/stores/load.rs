//! Clients that ask as fast as they are answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;

/// How many ask at a time.
pub const CLIENTS: u64 = 64;

pub struct Effort {
    /// How long a round lasts.
    pub round: Duration,
    pub rounds: usize,
}

impl Effort {
    pub const FULL: Self = Self {
        round: Duration::from_millis(500),
        rounds: 15,
    };
    pub const BRIEF: Self = Self {
        round: Duration::from_millis(10),
        rounds: 1,
    };

    /// What both can do per second, by turns, so that whatever else the machine does meets
    /// both: the medians.
    pub async fn compare<A, B>(&self, ceiling: A, layered: B) -> [f64; 2]
    where
        A: AsyncAsk,
        B: AsyncAsk,
    {
        let (ceiling, layered) = (Arc::new(ceiling), Arc::new(layered));
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..self.rounds {
            rates[0].push(self.round(&ceiling).await);
            rates[1].push(self.round(&layered).await);
        }
        rates.map(median)
    }

    async fn round<A: AsyncAsk>(&self, ask: &Arc<A>) -> f64 {
        let began = Instant::now();
        let end = began + self.round;
        let clients = (0..CLIENTS).map(|client| {
            let ask = Arc::clone(ask);
            tokio::spawn(async move {
                let mut asked = 0_u64;
                while Instant::now() < end {
                    ask.ask(client, NEXT.fetch_add(1, Ordering::Relaxed)).await;
                    asked += 1;
                }
                asked
            })
        });
        let asked = join_all(clients).await.into_iter().map(Result::unwrap);
        asked.sum::<u64>() as f64 / began.elapsed().as_secs_f64()
    }
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// One thing a client asks for.
pub trait AsyncAsk: Send + Sync + 'static {
    /// `client` asks, with a number never seen before.
    fn ask(&self, client: u64, number: u64) -> impl Future<Output = ()> + Send;
}

pub fn report(what: &str, [ceiling, layered]: [f64; 2]) {
    let ratio = layered / ceiling;
    println!("{what:<34} ceiling {ceiling:>9.0}   layer {layered:>9.0}   ratio {ratio:.2}");
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
