//! The bank of `examples/exactly_once`, killed again and again.
//!
//! `EXACTLY_ONCE_KILLS` says how often, 20 times by default; `EXACTLY_ONCE_SEED` when.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod outside;
mod servers;

use std::{env, process::Command};

#[test]
fn a_bank_that_is_killed_at_random_makes_each_transfer_once() {
    let server = servers::PostgresServer::start();
    let mut demonstration = Command::new(outside::example("exactly_once", "axum,postgres"));
    demonstration.env("DATABASE_URL", server.url());
    demonstration.arg(env::var("EXACTLY_ONCE_KILLS").unwrap_or_else(|_| "20".to_owned()));
    demonstration.args(env::var("EXACTLY_ONCE_SEED"));
    // What it says, its seed among it, is shown if it fails.
    let shown = demonstration.output().unwrap();
    let (told, failed) = (text(&shown.stdout), text(&shown.stderr));
    assert!(shown.status.success(), "{told}{failed}");
    assert!(told.contains("each made once; the books balance"), "{told}");
    println!("{told}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
