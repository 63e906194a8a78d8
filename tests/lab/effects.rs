//! What happens, and the log of it.

use serde_json::{Value, json};

use crate::lab::{Lab, request};

#[tokio::test]
async fn two_equal_posts_are_one_effect() {
    let lab = Lab::start(&[]).await;
    let [first, second] = lab.ask_twice("/effect").await;
    assert_eq!((first.status, first.is_replay()), (200, false));
    assert_eq!((second.text(), second.is_replay()), (first.text(), true));

    let effects = lab.effects();
    assert_eq!(effects.len(), 1);
    let answer: Value = serde_json::from_str(first.text()).unwrap();
    let uuid = answer["uuid"].as_str().unwrap();
    let (fence, pid) = (&answer["fence"], lab.child.id().unwrap());
    assert_eq!(effects[0], format!("k 1 {fence} {pid} {uuid}"));
    assert_eq!(answer["attempt"], 1);
    assert!(fence.as_u64().unwrap() > 0);
}

#[tokio::test]
async fn any_method_and_any_path_below_effect() {
    let lab = Lab::start(&[]).await;
    let mut client = lab.connect().await;
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let targets = ["/effect", "/effect/a", "/effect/a/b%20c"];
    let methods = ["GET", "PUT", "DELETE", "POST", "PATCH"];
    for method in methods {
        for target in targets {
            let answer = client.ask(&request(method, target, "", "abc")).await;
            let mut answer: Value = serde_json::from_slice(&answer.body).unwrap();
            answer.as_object_mut().unwrap().remove("uuid");
            let expected = json!({
                "attempt": 0, "fence": 0, "method": method, "path": target, "sha256": abc,
            });
            assert_eq!(answer, expected);
        }
    }
    let effects = lab.effects();
    assert_eq!(effects.len(), methods.len() * targets.len());
    assert!(effects.iter().all(|effect| effect.starts_with("- 0 0 ")));
}

#[tokio::test]
async fn the_key_is_logged_unescaped() {
    let lab = Lab::start(&[]).await;
    lab.ask("/effect", r#""a\"b\\c""#).await;
    assert!(lab.effects()[0].starts_with(r#"a"b\c 1 "#));
}

#[tokio::test]
async fn a_request_that_asks_for_nonsense_has_no_effect() {
    let lab = Lab::start(&[]).await;
    for query in [
        "status=ok",
        "sleep_ms=-1",
        "header=x",
        "directive=maybe",
        "x=1",
    ] {
        let answer = lab.ask(&format!("/effect?{query}"), query_key(query)).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    assert_eq!(lab.effects(), [""; 0]);
}

/// Letters only.
fn query_key(query: &str) -> &str {
    query.split('=').next().unwrap_or("x")
}

#[tokio::test]
async fn the_numbers_of_the_lab() {
    let lab = Lab::start(&[]).await;
    let mut client = lab.connect().await;
    let stats = request("GET", "/stats", "", "");
    let before: Value = serde_json::from_slice(&client.ask(&stats).await.body).unwrap();
    assert_eq!(before, json!({"executions": 0, "entries": 0, "bytes": 0}));
    for key in ["a", "a", "b"] {
        lab.ask("/effect?bytes=100", key).await;
    }
    let after: Value = serde_json::from_slice(&client.ask(&stats).await.body).unwrap();
    assert_eq!(
        (&after["executions"], &after["entries"]),
        (&json!(2), &json!(2))
    );
    assert!(after["bytes"].as_u64().unwrap() > 200);
}

#[tokio::test]
async fn the_numbers_are_not_behind_the_layer() {
    let lab = Lab::start(&[("LAB_REQUIRE_KEY", "1")]).await;
    let request = request("POST", "/stats", "", "");
    assert_eq!(lab.connect().await.ask(&request).await.status, 405);
}
