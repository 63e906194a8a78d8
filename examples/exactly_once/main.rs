//! A bank that is killed at random, and neither loses a transfer nor makes one twice.
//!
//! ```text
//! export DATABASE_URL=postgres://localhost/postgres
//! cargo run --features axum,postgres --example exactly_once
//! ```
//!
//! kills it 20 times, and does the books; with `-- 200 7` behind it 200 times, at the moments
//! that the seed 7 gives; with `-- serve` it is only the bank, on 127.0.0.1:3002.
//!
//! The bank writes each transfer in the transaction in which its answer is recorded. Sixteen
//! clients transfer money all the time; each sends its request under the same key until it is
//! answered. Meanwhile the bank is killed with SIGKILL and started again. In the end the money
//! is all there, every transfer was made once, and is the one its client was told of.

mod bank;
mod books;
mod clients;
mod killer;

use std::{env, error::Error, net::TcpListener};

use sqlx::PgPool;

use self::{books::Books, clients::Clients, killer::Killer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?;
    let mut arguments = env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        let address = arguments
            .next()
            .unwrap_or_else(|| "127.0.0.1:3002".to_owned());
        return bank::serve(&url, &address).await;
    }
    let kills = first.map_or(Ok(20), |kills| kills.parse())?;
    let seed = arguments
        .next()
        .map_or_else(|| Ok(new_seed()), |seed| seed.parse())?;
    demonstrate(&url, kills, seed).await
}

async fn demonstrate(url: &str, kills: u32, seed: u64) -> Result<(), Box<dyn Error>> {
    println!("{kills} kills, seed {seed}");
    let pool = PgPool::connect(url).await?;
    let books = Books::open(pool).await?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let killer = Killer::new(address, seed);
    let clients = Clients::start(address, seed);
    killer.kill(kills).await?;
    let told = clients.stop().await?;
    let transfers = told.len();
    books.close(told).await?;
    println!("{transfers} transfers, each made once; the books balance");
    Ok(())
}

/// A seed that is another one each time.
fn new_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 >> 32
}
