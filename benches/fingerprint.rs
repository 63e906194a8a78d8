//! What it costs to tell what was asked: JSON by its meaning, against the exact bytes.
//!
//! ```sh
//! cargo bench --bench fingerprint
//! cargo bench --bench fingerprint -- 'KiB, indented'
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "measures real time, and may panic"
)]

use std::{env, hint::black_box, time::Instant};

use bytes::Bytes;
use http::{Request, request::Parts};
use serde_json::{Value, json};
use tower_idempotency::{ExactFingerprint, Fingerprinter, JsonFingerprint};

fn main() {
    // As a test: does it still run?
    let rounds = if env::args().any(|argument| argument == "--bench") {
        200
    } else {
        1
    };
    println!(
        "{:<36} {:>8} {:>12} {:>12} {:>7} {:>10}",
        "JSON of", "bytes", "exact", "by meaning", "ratio", "MB/s"
    );
    let exact = ExactFingerprint::new();
    let meaning = JsonFingerprint::new();
    let only = env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    for (name, document) in documents() {
        if only.as_ref().is_some_and(|only| !name.contains(&**only)) {
            continue;
        }
        let body = Bytes::from(document);
        let repeat = 1 + 200_000 / body.len();
        let (mut least, mut ratios) = ([f64::MAX; 2], Vec::new());
        for _ in 0..rounds {
            let nanos = [nanos(&exact, &body, repeat), nanos(&meaning, &body, repeat)];
            least = [least[0].min(nanos[0]), least[1].min(nanos[1])];
            ratios.push(nanos[1] / nanos[0]);
        }
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios[ratios.len() / 2];
        println!(
            "{name:<36} {:>8} {:>9.0} ns {:>9.0} ns {ratio:>7.2} {:>10.0}",
            body.len(),
            least[0],
            least[1],
            body.len() as f64 / least[1] * 1e3,
        );
    }
}

/// The time of one fingerprint.
fn nanos(fingerprinter: &impl Fingerprinter, body: &Bytes, repeat: usize) -> f64 {
    let parts = head();
    let began = Instant::now();
    for _ in 0..repeat {
        let mut state = fingerprinter.begin(black_box(&parts));
        state.update(black_box(body));
        black_box(state.finish());
    }
    began.elapsed().as_nanos() as f64 / repeat as f64
}

fn head() -> Parts {
    let request = Request::post("/v1/payments").header("content-type", "application/json");
    request.body(()).unwrap().into_parts().0
}

const MIB: usize = 1024 * 1024;

fn documents() -> Vec<(&'static str, String)> {
    let (order, mib) = (order(), payments(MIB));
    vec![
        ("1 KiB, members in order", order.to_string()),
        ("1 KiB, in no order", in_no_order(&order)),
        (
            "1 KiB, indented",
            serde_json::to_string_pretty(&order).unwrap(),
        ),
        ("1 MiB, members in order", mib.to_string()),
        ("1 MiB, in no order", in_no_order(&mib)),
        (
            "1 MiB, indented",
            serde_json::to_string_pretty(&mib).unwrap(),
        ),
        ("1 MiB, text", text(MIB).to_string()),
        ("1 MiB, numbers", numbers(MIB)),
        ("1 MiB, one deep in the other", deep(MIB)),
    ]
}

/// An order of 1 KiB.
fn order() -> Value {
    let mut order = json!({
        "amount": 11_980,
        "capture_method": "automatic",
        "confirm": true,
        "currency": "eur",
        "customer": "cus_9s6XKzkNRiz8i3",
        "description": "Two tickets to the opening, row 12, seats 7 and 8; to be kept at the box office",
        "discount": null,
        "items": [
            { "description": "Stalls, row 12, seat 7", "price": "price_1MoBy5LkdIwHu7ixZhnattbh", "quantity": 1 },
            { "description": "Stalls, row 12, seat 8", "price": "price_1MoBy5LkdIwHu7ixZhnattbh", "quantity": 1 },
        ],
        "metadata": {
            "campaign": "opening-night-2026",
            "order_id": "6735-0012-4458",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        },
        "payment_method": "pm_1NVChw2eZvKYlo2CHxiM5E2E",
        "receipt_email": "ada.lovelace@example.com",
        "return_url": "https://shop.example.com/orders/6735-0012-4458/thanks?language=en",
        "shipping": {
            "address": { "city": "Berlin", "country": "DE", "line1": "Unter den Linden 7", "postal_code": "10117" },
            "name": "Ada Lovelace",
            "phone": "+49 30 20354555",
        },
        "statement_descriptor": "STAATSOPER BERLIN",
        "note": "",
    });
    let length = order.to_string().len();
    order["note"] = Value::from("x".repeat(1024 - length));
    order
}

/// Payments of some 300 bytes each.
fn payments(bytes: usize) -> Value {
    let payment = |nth: usize| {
        json!({
            "amount": 1999 + nth,
            "capture": true,
            "currency": "eur",
            "customer": format!("cus_{:016x}", nth * 7_919),
            "description": "Two tickets to the opening, row 12 — seats 7 and 8",
            "metadata": { "order_id": format!("{nth:08}"), "shop": "berlin", "tax": 19.25 },
            "payment_method": "card",
            "receipt_email": "ada@example.com",
            "statement": null,
        })
    };
    let each = payment(0).to_string().len() + 1;
    Value::Array((0..bytes / each).map(payment).collect())
}

/// With the members of each object by the ends of their names.
fn in_no_order(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.bytes().rev().collect::<Vec<_>>());
            let member = |(name, value)| format!("{name:?}:{}", in_no_order(value));
            let members: Vec<_> = members.into_iter().map(member).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(elements) => {
            let elements: Vec<_> = elements.iter().map(in_no_order).collect();
            format!("[{}]", elements.join(","))
        }
        other => other.to_string(),
    }
}

/// What is sent to a language model: long strings with line ends in them.
fn text(bytes: usize) -> Value {
    let line = "The quick brown fox says \"Zwölf Boxkämpfer\" and jumps over the lazy dog.\n";
    json!({ "messages": [{ "content": line.repeat(bytes / line.len()), "role": "user" }] })
}

fn numbers(bytes: usize) -> String {
    let number = |nth: usize| format!("{}.{:03}", nth * 31 % 10_000, nth % 1000);
    let numbers: Vec<_> = (0..bytes / 9).map(number).collect();
    format!("[{}]", numbers.join(","))
}

/// Objects in no order, each inside the other as deeply as is read.
fn deep(bytes: usize) -> String {
    let fill = "x".repeat(bytes / 128);
    (0..127).fold(json!(fill).to_string(), |inner, _| {
        format!("{{\"z\":{inner},\"a\":\"{}\"}}", &fill[..fill.len() / 2])
    })
}
