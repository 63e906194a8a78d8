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
        ("LAB_LEASE_MS", "0"),
        ("LAB_LEASE_MS", "soon"),
        ("LAB_RETENTION_MS", "-1"),
        ("LAB_IN_FLIGHT", "juggle"),
        ("LAB_AFTER_CRASH", "cry"),
        ("LAB_CONTRACT", "Stripe"),
        ("LAB_FINGERPRINT", "thumb"),
        ("LAB_REQUIRE_KEY", "yes"),
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

async fn refused(name: &str, value: &OsStr) {
    let output = soon(command(&[]).env(name, value).output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{name}={value:?}: {said}");
    assert!(said.contains(&format!("{name}=")), "{said}");
    assert!(said.contains(&*value.to_string_lossy()), "{said}");
    assert_eq!(output.stdout, b"", "{name} was refused after it listened");
}
