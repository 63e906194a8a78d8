//! Clients that ask as fast as they are answered.

use std::{sync::Arc, time::Instant};

use futures_util::future::join_all;

/// How many ask at a time.
pub const CLIENTS: u64 = 64;

pub struct Effort {
    /// How often each client asks in a round.
    pub asks: u64,
    pub rounds: usize,
}

impl Effort {
    pub const FULL: Self = Self {
        asks: 300,
        rounds: 9,
    };
    pub const BRIEF: Self = Self { asks: 2, rounds: 1 };

    /// What both can do per second, by turns, so that whatever else the machine does meets
    /// both. Each is given numbers that were never given out; the medians.
    pub async fn compare<A, B>(&self, ceiling: A, layered: B) -> [f64; 2]
    where
        A: AsyncAsk,
        B: AsyncAsk,
    {
        let (ceiling, layered) = (Arc::new(ceiling), Arc::new(layered));
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..self.rounds as u64 {
            rates[0].push(self.round(&ceiling, 2 * round).await);
            rates[1].push(self.round(&layered, 2 * round + 1).await);
        }
        rates.map(median)
    }

    async fn round<A: AsyncAsk>(&self, ask: &Arc<A>, round: u64) -> f64 {
        let asks = self.asks;
        let clients = (0..CLIENTS).map(|client| {
            let ask = Arc::clone(ask);
            tokio::spawn(async move {
                for nth in 0..asks {
                    ask.ask(client, (round * asks + nth) * CLIENTS + client)
                        .await;
                }
            })
        });
        let began = Instant::now();
        for client in join_all(clients).await {
            client.unwrap();
        }
        (CLIENTS * asks) as f64 / began.elapsed().as_secs_f64()
    }
}

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
