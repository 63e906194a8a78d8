//! What the environment says.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    lab::{Lab, request},
    outside::{Raw, soon},
};

fn code(answer: &Raw) -> (u16, String) {
    (answer.status, answer.code())
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn the_contract_of_stripe_records_500() {
    let lab = Lab::start(&[("LAB_CONTRACT", "stripe")]).await;
    let [_, retry] = lab.ask_twice("/effect?status=500").await;
    assert_eq!((retry.status, retry.is_replay()), (500, true));
    let elsewhere = lab.ask("/effect/elsewhere", "k").await;
    assert_eq!(elsewhere.status, 400, "a key reaches the whole service");
    assert_eq!(lab.effects().len(), 1);
}

#[tokio::test]
async fn the_contract_of_the_ietf_wants_quotes_and_answers_422() {
    let lab = Lab::start(&[("LAB_CONTRACT", "ietf")]).await;
    let bare = lab.ask("/effect", "k").await;
    assert_eq!(code(&bare), refusal(400, "idempotency_key_invalid"));
    assert!(!lab.ask("/effect", r#""k""#).await.is_replay());
    assert!(lab.ask("/effect", r#""k""#).await.is_replay());
    let other = lab.ask("/effect?bytes=1", r#""k""#).await;
    assert_eq!(code(&other), refusal(422, "idempotency_conflict"));
}

#[tokio::test]
async fn a_key_can_be_required() {
    let lab = Lab::start(&[("LAB_REQUIRE_KEY", "1")]).await;
    let keyless = request("POST", "/effect", "", "1");
    let refused = lab.connect().await.ask(&keyless).await;
    assert_eq!(code(&refused), refusal(400, "idempotency_key_required"));
    let get = request("GET", "/effect", "", "");
    assert_eq!(lab.connect().await.ask(&get).await.status, 200);
}

fn keyed(body: &str) -> String {
    request("POST", "/effect", "idempotency-key: k\r\n", body)
}

#[tokio::test]
async fn the_largest_request() {
    let lab = Lab::start(&[("LAB_MAX_REQUEST", "8")]).await;
    let refused = lab.connect().await.ask(&keyed("123456789")).await;
    assert_eq!(
        code(&refused),
        refusal(413, "idempotency_payload_too_large")
    );
    assert_eq!(
        lab.connect().await.ask(&keyed("12345678")).await.status,
        200
    );
}

#[tokio::test]
async fn the_largest_request_may_be_larger_than_usual() {
    let lab = Lab::start(&[("LAB_MAX_REQUEST", "4000000")]).await;
    let body = "x".repeat(3_000_000);
    assert_eq!(lab.connect().await.ask(&keyed(&body)).await.status, 200);
    assert_eq!(lab.effects().len(), 1);
}

#[tokio::test]
async fn an_answer_over_the_largest_response_is_sealed() {
    let lab = Lab::start(&[("LAB_MAX_RESPONSE", "10")]).await;
    let [_, within] = lab.ask_twice("/effect/a?bytes=10").await;
    assert!(within.is_replay());
    for target in [
        "/effect/b?bytes=11",
        "/effect/c?bytes=60&chunks=6&chunk_ms=1",
    ] {
        let [whole, sealed] = lab.ask_twice(target).await;
        assert!(whole.body.len() == 11 || whole.body.len() == 60);
        let expected = refusal(409, "idempotency_result_unavailable");
        assert_eq!(code(&sealed), expected);
    }
    assert_eq!(lab.effects().len(), 3);
}

async fn ada_and_bob(scope: &str) -> usize {
    let lab = Lab::start(&[("LAB_SCOPE", scope)]).await;
    for token in ["ada", "bob", "ada"] {
        let fields = format!("idempotency-key: k\r\nauthorization: Bearer {token}\r\n");
        let request = request("POST", "/effect", &fields, "1");
        lab.connect().await.ask(&request).await;
    }
    lab.effects().len()
}

#[tokio::test]
async fn the_scope_is_the_credentials_or_nothing() {
    assert_eq!(ada_and_bob("credentials").await, 2);
    assert_eq!(ada_and_bob("global").await, 1);
}

#[tokio::test]
async fn a_full_store_refuses_new_keys() {
    let lab = Lab::start(&[("LAB_MAX_ENTRIES", "1")]).await;
    lab.ask("/effect", "a").await;
    let refused = lab.ask("/effect", "b").await;
    assert!(refused.field("retry-after").is_some());
    let expected = refusal(503, "idempotency_store_unavailable");
    assert_eq!(code(&refused), expected);
    assert!(lab.ask("/effect", "a").await.is_replay());
    assert_eq!(lab.effects().len(), 1);
}

#[tokio::test]
async fn or_runs_unprotected_if_told_to() {
    let settings = [("LAB_MAX_ENTRIES", "1"), ("LAB_STORE_FAILURE", "proceed")];
    let lab = Lab::start(&settings).await;
    lab.ask("/effect", "a").await;
    for effects in 2..4 {
        let answer = lab.ask("/effect", "b").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.field("idempotency-status"),
            Some(&b"unprotected"[..])
        );
        assert_eq!(lab.effects().len(), effects);
        assert!(lab.effects()[effects - 1].starts_with("b 1 0 "));
    }
}

#[tokio::test]
async fn retention() {
    let lab = Lab::start(&[("LAB_RETENTION_MS", "1")]).await;
    lab.ask("/effect", "k").await;
    let forgotten = async {
        while lab.ask("/effect", "k").await.is_replay() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    soon(forgotten).await;
}

#[tokio::test]
async fn a_lease_shorter_than_the_handler_is_renewed() {
    let lab = Lab::start(&[("LAB_LEASE_MS", "150")]).await;
    let target = "/effect?sleep_ms=900";
    let mut first = lab.connect().await;
    let fields = "idempotency-key: k\r\n";
    first.send(&request("POST", target, fields, "1")).await;
    lab.until_effects(1).await;
    let ended = async {
        loop {
            let answer = lab.ask(target, "k").await;
            if answer.is_replay() {
                return answer;
            }
            assert_eq!(code(&answer), refusal(409, "idempotency_in_flight"));
            sleep(Duration::from_millis(20)).await;
        }
    };
    let replay = soon(ended).await;
    assert_eq!(first.answer().await.body, replay.body);
    assert_eq!(lab.effects().len(), 1);
}

#[tokio::test]
async fn what_was_in_memory_is_gone_with_the_process() {
    let mut lab = Lab::start(&[("LAB_LEASE_MS", "60000"), ("LAB_AFTER_CRASH", "hold")]).await;
    let mut client = lab.connect().await;
    let fields = "idempotency-key: k\r\n";
    let request = request("POST", "/effect?sleep_ms=60000", fields, "1");
    client.send(&request).await;
    lab.until_effects(1).await;
    lab.signal("-KILL").await;
    assert_eq!(lab.exited().await.code(), None);

    let after = lab.restarted().await;
    assert!(!after.ask("/effect", "k").await.is_replay());
    let pids = after.effects().into_iter();
    let mut pids: Vec<_> = pids
        .map(|line| line.split(' ').nth(3).map(str::to_owned))
        .collect();
    pids.dedup();
    assert_eq!(pids.len(), 2, "one effect by each process");
}

#[tokio::test]
async fn duplicates_can_wait() {
    let lab = Lab::start(&[("LAB_IN_FLIGHT", "wait:60000")]).await;
    let target = "/effect?sleep_ms=300";
    let answers = tokio::join!(
        lab.ask(target, "k"),
        lab.ask(target, "k"),
        lab.ask(target, "k")
    );
    let answers = [answers.0, answers.1, answers.2];
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 && answer.body == answers[0].body)
    );
    assert_eq!(
        answers.iter().filter(|answer| answer.is_replay()).count(),
        2
    );
    assert_eq!(lab.effects().len(), 1);
}

/// The answer to a POST of this JSON, with these header fields.
async fn json(lab: &Lab, fields: &str, body: &str) -> Raw {
    let fields = format!("content-type: application/json\r\n{fields}");
    let request = request("POST", "/effect", &fields, body);
    lab.connect().await.ask(&request).await
}

const KEY: &str = "idempotency-key: k\r\n";

#[tokio::test]
async fn json_by_its_meaning_or_byte_for_byte() {
    for (settings, replays) in [
        (&[][..], false),
        (&[("LAB_FINGERPRINT", "exact")], false),
        (&[("LAB_FINGERPRINT", "json")], true),
    ] {
        let lab = Lab::start(settings).await;
        json(&lab, KEY, r#"{"a":1,"b":null}"#).await;
        let retry = json(&lab, KEY, r#"{"b": null, "a": 1.0}"#).await;
        assert_eq!(retry.is_replay(), replays, "{settings:?}");
        let other = json(&lab, KEY, r#"{"a":1}"#).await;
        assert_eq!(code(&other), refusal(409, "idempotency_conflict"));
        assert_eq!(lab.effects().len(), 1);
    }
}

#[tokio::test]
async fn the_key_in_a_field_of_the_body() {
    let lab = Lab::start(&[("LAB_KEY_FIELD", "key")]).await;
    let first = json(&lab, "", r#"{"key":"k","a":1}"#).await;
    assert!(!first.is_replay());
    assert!(lab.effects()[0].starts_with("k 1 "));
    assert!(json(&lab, "", r#"{"a":1,"key":"k"}"#).await.is_replay());
    assert!(
        json(&lab, KEY, r#"{"a":1}"#).await.is_replay(),
        "the header counts"
    );
    let invalid = refusal(400, "idempotency_key_invalid");
    assert_eq!(
        code(&json(&lab, KEY, r#"{"a":1,"key":"l"}"#).await),
        invalid
    );
    assert_eq!(code(&json(&lab, "", r#"{"a":1,"key":1}"#).await), invalid);
    let conflict = json(&lab, "", r#"{"a":2,"key":"k"}"#).await;
    assert_eq!(code(&conflict), refusal(409, "idempotency_conflict"));
    assert_eq!(lab.effects().len(), 1);
    for unkeyed in [r#"{"a":1,"key":null}"#, r#"{"a":1}"#] {
        assert_eq!(json(&lab, "", unkeyed).await.status, 200);
    }
    assert_eq!(lab.effects().len(), 3);
}

#[tokio::test]
async fn a_key_in_the_body_and_the_contract_of_the_ietf() {
    let lab = Lab::start(&[("LAB_KEY_FIELD", "key"), ("LAB_CONTRACT", "ietf")]).await;
    assert_eq!(
        code(&json(&lab, KEY, "{}").await),
        refusal(400, "idempotency_key_invalid")
    );
    json(&lab, "", r#"{"key":"k"}"#).await;
    let quoted = "idempotency-key: \"k\"\r\n";
    assert!(json(&lab, quoted, "{}").await.is_replay());
}
