//! Starts the bank, and kills it at random moments.

use std::{env, error::Error, io, net::SocketAddr, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::sleep,
};

pub(crate) struct Killer {
    address: SocketAddr,
    random: Random,
}

impl Killer {
    pub(crate) fn new(address: SocketAddr, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { address, random }
    }

    /// Kills it so many times, and then leaves it running.
    pub(crate) async fn kill(mut self, times: u32) -> Result<(), Box<dyn Error>> {
        let mut bank = self.start().await?;
        for _ in 0..times {
            sleep(Duration::from_millis(50 + self.random.below(450))).await;
            bank.kill().await?;
            bank = self.start().await?;
        }
        // Until this process ends.
        tokio::spawn(async move { bank.wait().await });
        Ok(())
    }

    /// Starts it, and waits until it listens.
    async fn start(&self) -> io::Result<Child> {
        let mut bank = Command::new(env::current_exe()?)
            .args(["serve", &self.address.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(stdout) = bank.stdout.take() {
            let listens = BufReader::new(stdout).lines().next_line().await?;
            listens.ok_or_else(|| io::Error::other("the bank does not start"))?;
        }
        Ok(bank)
    }
}

/// Numbers that a seed gives (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (number ^ (number >> 31)) % bound
    }
}
