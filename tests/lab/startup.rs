//! What the lab says before it serves.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use crate::{
    lab::{Lab, command},
    outside::soon,
};

#[tokio::test]
async fn the_first_line_says_where_it_listens() {
    let lab = Lab::start(&[]).await;
    let port = lab
        .first_line
        .strip_prefix("listening on http://127.0.0.1:");
    assert!(port.unwrap().parse::<u16>().unwrap() > 0);
    assert_eq!(lab.ask("/effect", "k").await.status, 200);
}

#[tokio::test]
async fn an_unknown_value_is_named_and_exits_2() {
    for (name, value) in [
        ("LAB_ADDR", "nowhere"),
        ("LAB_STORE", "clay"),
        ("LAB_STORE", "sqlite"),
        ("LAB_STORE", "sqlite:"),
        ("LAB_STORE", "memory:"),
        ("LAB_STORE", "redis"),
        ("LAB_STORE", "postgres:"),
        ("LAB_LEASE_MS", "0"),
        ("LAB_LEASE_MS", "soon"),
        ("LAB_LEASE_MS", "+5"),
        ("LAB_LEASE_MS", " 5"),
        ("LAB_RETENTION_MS", "-1"),
        ("LAB_IN_FLIGHT", "juggle"),
        ("LAB_IN_FLIGHT", "wait"),
        ("LAB_IN_FLIGHT", "wait:"),
        ("LAB_IN_FLIGHT", "wait:-1"),
        ("LAB_IN_FLIGHT", "wait:+1"),
        ("LAB_IN_FLIGHT", "Reject"),
        ("LAB_AFTER_CRASH", "cry"),
        ("LAB_CONTRACT", "Stripe"),
        ("LAB_FINGERPRINT", "thumb"),
        ("LAB_FINGERPRINT", "json "),
        ("LAB_REQUIRE_KEY", "yes"),
        ("LAB_REQUIRE_KEY", "01"),
        ("LAB_MAX_REQUEST", "2MiB"),
        ("LAB_MAX_RESPONSE", "1e6"),
        ("LAB_SCOPE", "galaxy"),
        ("LAB_STORE_FAILURE", "ignore"),
        ("LAB_MAX_ENTRIES", "many"),
        ("LAB_EFFECT_LOG", "/nowhere/at/all"),
    ] {
        refused(name, OsStr::new(value)).await;
    }
}

#[tokio::test]
async fn a_value_that_is_not_text_is_unknown_too() {
    for name in ["LAB_CONTRACT", "LAB_LEASE_MS", "LAB_ADDR"] {
        refused(name, OsStr::from_bytes(b"\xff")).await;
    }
}

/// And not left at its default.
#[tokio::test]
async fn a_name_that_is_misspelt_is_named_and_exits_2() {
    refused_at("LAB_LEASE", OsStr::new("5"), "LAB_LEASE:").await;
}

#[tokio::test]
async fn what_follows_a_scheme_is_not_shown() {
    for store in ["memory:x", "mysql://root:x@localhost", "redis:x"] {
        let scheme = store.split(':').next().unwrap();
        let said = format!("LAB_STORE={scheme}:…: unknown value");
        refused_at("LAB_STORE", OsStr::new(store), &said).await;
    }
}

#[tokio::test]
async fn the_largest_numbers_are_taken() {
    let largest = u64::MAX.to_string();
    let lab = Lab::start(&[
        ("LAB_LEASE_MS", &largest),
        ("LAB_RETENTION_MS", &largest),
        ("LAB_IN_FLIGHT", &format!("wait:{largest}")),
        ("LAB_MAX_REQUEST", &largest),
        ("LAB_MAX_RESPONSE", &largest),
        ("LAB_MAX_ENTRIES", &largest),
    ])
    .await;
    let [_, retry] = lab.ask_twice("/effect").await;
    assert!(retry.is_replay());
}

/// With the value in what is said.
async fn refused(name: &str, value: &OsStr) {
    let shown = match value.to_str() {
        Some(value) if name == "LAB_STORE" => value.trim_end_matches(':').to_owned(),
        _ => value.to_string_lossy().into_owned(),
    };
    refused_at(name, value, &format!("{name}={shown}:")).await;
}

async fn refused_at(name: &str, value: &OsStr, expected: &str) {
    let directory = env!("CARGO_TARGET_TMPDIR");
    let mut lab = command(&[]);
    let output = soon(lab.env(name, value).current_dir(directory).output());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{name}={value:?}: {said}");
    assert!(said.contains(expected), "{said}");
    assert_eq!(output.stdout, b"", "{name} was refused after it listened");
}
