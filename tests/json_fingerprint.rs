//! JSON compared by its meaning.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use bytes::Bytes;
use http::Request;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use tower_idempotency::{ExactFingerprint, Fingerprint, Fingerprinter, JsonFingerprint};

fn of(
    fingerprinter: &impl Fingerprinter,
    request: http::request::Builder,
    body: &[u8],
) -> Fingerprint {
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let mut state = fingerprinter.begin(&parts);
    state.update(&Bytes::copy_from_slice(body));
    state.finish()
}

fn typed(media_type: &str) -> http::request::Builder {
    Request::post("/?q").header("content-type", media_type)
}

fn json_by(fingerprinter: &JsonFingerprint, text: impl AsRef<[u8]>) -> Fingerprint {
    of(fingerprinter, typed("application/json"), text.as_ref())
}

fn json(text: impl AsRef<[u8]>) -> Fingerprint {
    json_by(&JsonFingerprint::new(), text)
}

#[test]
fn all_vectors() {
    let vectors = include_str!("data/json_equality.json");
    let vectors: Vec<Value> = serde_json::from_str(vectors).unwrap();
    assert_eq!(vectors.len(), 31);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let equal = match text("recommended").trim_start_matches("raw: ") {
            "EQUAL" => true,
            "DIFF" => false,
            other => panic!("{other}"),
        };
        assert_eq!(json(text("a")) == json(text("b")), equal, "{vector}");
    }
}

#[test]
fn numbers_are_exact_however_long() {
    let (nines, zeros) = ("9".repeat(5000), "0".repeat(5000));
    let long = format!("1{zeros}e{nines}");
    assert_eq!(
        json(&long),
        json(format!("10{zeros}e{}8", "9".repeat(4999)))
    );
    assert_ne!(json(&long), json(format!("1{zeros}e{}8", "9".repeat(4999))));
    assert_ne!(json(format!("0.{zeros}1")), json(format!("0.{zeros}01")));
    assert_eq!(json(format!("0.{zeros}1")), json("1e-5001"));
}

#[test]
fn depth_is_limited_and_nothing_is_refused() {
    let nested = |depth: usize, space: &str| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        json(format!("{open}{space}{close}"))
    };
    assert_eq!(nested(128, ""), nested(128, " "));
    assert_ne!(nested(129, ""), nested(129, " "), "byte for byte");
    assert_eq!(nested(100_000, ""), nested(100_000, ""));
}

#[test]
fn a_text_without_meaning_is_equal_to_itself_only() {
    for text in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "nul",
        "1 2",
        "\u{feff}1",
        "'a'",
        "{\"a\":1,\"\\u0061\":1}",
        "\"\\ud800\"",
    ] {
        assert_eq!(json(text), json(text), "{text}");
        assert_ne!(json(text), json(format!("{text} ")), "{text}");
    }
    // Under the same tag this would be the shortest spelling of another.
    assert_ne!(json("[1,1]]"), json("[1,1]"));
    // What is no UTF-8 is no JSON, also where the cut is inside a character.
    assert_ne!(json(b"\"\xff\""), json(b" \"\xff\""));
    assert_ne!(json(b"\"\xc3\\u00a9\""), json(b" \"\xc3\\u00a9\""));
}

#[test]
fn head_counts_as_in_the_exact_fingerprint() {
    let by = |request| of(&JsonFingerprint::new(), request, b"{}");
    let typed_as = |media_type| by(typed(media_type));
    let all = [
        typed_as("application/json"),
        typed_as("application/problem+json"),
        typed_as("application/json; charset=latin1"),
        typed_as("text/plain"),
        by(typed("application/json").method("PATCH")),
        by(typed("application/json").uri("/")),
        by(typed("application/json").uri("/a?q")),
        by(typed("application/json").header("content-type", "c/d")),
        by(typed("application/json").header("content-type", "application/json")),
        by(typed("c/d").header("content-type", "application/json")),
    ];
    for (i, a) in all.iter().enumerate() {
        for (j, b) in all.iter().enumerate() {
            assert_eq!(i == j, a == b, "{i} and {j}");
        }
    }
    assert_eq!(typed_as("Application/JSON;charset=UTF-8"), all[0]);
    assert_eq!(
        by(typed("application/json").header("x-attempt", "2")),
        all[0]
    );
}

/// It is kept for as long as records are.
#[test]
fn with_one_content_type_it_is_what_it_was() {
    let of = |media_type| of(&JsonFingerprint::new(), typed(media_type), b"{}");
    let shown = ["application/json", "a/b+json; v=2"].map(|one| format!("{:?}", of(one)));
    assert_eq!(
        shown,
        ["Fingerprint(v2 bcf4223b…)", "Fingerprint(v2 87c720a5…)"]
    );
}

#[test]
fn another_type_is_compared_exactly() {
    for media_type in ["text/plain", "application/jsonp", "application/grpc+json"] {
        let by = |fingerprinter: &dyn Fingerprinter, body| {
            let (parts, ()) = typed(media_type).body(()).unwrap().into_parts();
            let mut state = fingerprinter.begin(&parts);
            state.update(&Bytes::from_static(body));
            state.finish()
        };
        let meaning = by(&JsonFingerprint::new(), b"{ }");
        assert_eq!(meaning, by(&ExactFingerprint::new(), b"{ }"));
        assert_ne!(meaning, by(&JsonFingerprint::new(), b"{}"));
    }
}

#[test]
fn an_added_part_counts() {
    let (parts, ()) = typed("application/json").body(()).unwrap().into_parts();
    let with = |part: &str| JsonFingerprint::new().begin(&parts).and(part).finish();
    assert_ne!(with("a"), with("b"));
    assert_ne!(with(""), JsonFingerprint::new().begin(&parts).finish());
}

fn compared(fingerprinter: &JsonFingerprint, a: &str, b: &str) -> bool {
    json_by(fingerprinter, a) == json_by(fingerprinter, b)
}

#[test]
fn what_is_ignored_is_as_if_it_were_not_there() {
    let by = JsonFingerprint::new()
        .ignore("/metadata/trace_id")
        .ignore("/items/0/at")
        .ignore("/a~1b")
        .ignore("/q\"\\");
    for (a, b) in [
        (
            r#"{"metadata":{"trace_id":1,"x":1}}"#,
            r#"{"metadata":{"x":1,"trace_id":{"y":[2]}}}"#,
        ),
        (r#"{"metadata":{"trace_id":1}}"#, r#"{"metadata":{}}"#),
        (r#"{"metadata":{"trace\u005fid":1}}"#, r#"{"metadata":{}}"#),
        (
            r#"{"items":[{"at":1},{"at":1}]}"#,
            r#"{"items":[{},{"at":1}]}"#,
        ),
        (r#"{"a/b":1,"c":1,"q\"\\":0}"#, r#"{"c":1}"#),
        (
            r#"{"z":{"b":1,"a":2},"a/b":{"y":1,"x":2},"c":1}"#,
            r#"{"c":1,"z":{"a":2,"b":1}}"#,
        ),
    ] {
        assert!(compared(&by, a, b), "{a} and {b}");
        assert_ne!(json(a), json(b));
    }
    for (a, b) in [
        (r#"{"trace_id":1}"#, r#"{"trace_id":2}"#),
        (
            r#"{"metadata":{"x":{"trace_id":1}}}"#,
            r#"{"metadata":{"x":{}}}"#,
        ),
        (r#"{"items":[{},{"at":1}]}"#, r#"{"items":[{},{"at":2}]}"#),
        (r#"{"metadata":{"trace_id":1}}"#, "{}"),
        (r#"{"a/b":1,"a/b":1}"#, r#"{"a/b":1,"a/b":2}"#),
        (r#"{"a/b":1"#, r#"{"a/b":2"#),
    ] {
        assert!(!compared(&by, a, b), "{a} and {b}");
    }
}

/// However long it is, and wherever.
#[test]
fn what_is_ignored_is_json_all_the_same() {
    let ignoring = JsonFingerprint::new().ignore("/a").ignore("/b/1");
    let only = JsonFingerprint::new().only(["/c"]);
    for length in [0, 10, 5000] {
        let fill = "x".repeat(length);
        for (begin, end) in [
            ("{\"a\":\"", "\"}"),
            ("{\"a\":{\"z\":0,\"y\":\"", "\"},\"c\":1}"),
            ("{\"b\":[0,\"", "\"]}"),
            ("{\"b\":[0,{\"", "\":0}]}"),
        ] {
            for broken in [&b"\xff"[..], b"\xc3", b"\\ud800", b"\x01"] {
                let text = [begin.as_bytes(), broken, fill.as_bytes(), end.as_bytes()].concat();
                for by in [&ignoring, &only] {
                    let spaced = [&text[..], b" "].concat();
                    assert_ne!(json_by(by, &text), json_by(by, &spaced), "{begin} {length}");
                }
            }
        }
    }
}

#[test]
fn only_what_is_named_counts() {
    let by = JsonFingerprint::new().only(["/amount", "/to/iban", "/lines/1"]);
    for (a, b) in [
        (r#"{"amount":1,"x":1}"#, r#"{"y":[2],"amount":1.0}"#),
        (
            r#"{"to":{"iban":1,"name":"a"}}"#,
            r#"{"to":{"name":"b","iban":1}}"#,
        ),
        (r#"{"lines":[1,2,3]}"#, r#"{"lines":[4,2]}"#),
        (r#"{"lines":{"0":1,"1":2}}"#, r#"{"lines":{"1":2}}"#),
        (r#"{"lines":[1]}"#, r#"{"lines":[]}"#),
    ] {
        assert!(compared(&by, a, b), "{a} and {b}");
    }
    for (a, b) in [
        (r#"{"amount":{"a":1}}"#, r#"{"amount":{"a":2}}"#),
        (r#"{"to":1}"#, r#"{"to":2}"#),
        (r#"{"to":{}}"#, "{}"),
        (r#"{"to":[1]}"#, r#"{"to":[2]}"#),
        ("[1]", "[2]"),
        ("1", "2"),
        (r#"{"amount":null}"#, "{}"),
        (r#"{"lines":[1,2]}"#, r#"{"lines":[2,1]}"#),
    ] {
        assert!(!compared(&by, a, b), "{a} and {b}");
    }
}

#[test]
fn only_and_ignore_together_and_the_whole() {
    let by = JsonFingerprint::new()
        .only(["/a"])
        .ignore("/a/b")
        .ignore("/c");
    assert!(compared(
        &by,
        r#"{"a":{"b":1,"c":2},"c":1}"#,
        r#"{"a":{"c":2},"d":1}"#
    ));
    assert!(!compared(&by, r#"{"a":{"c":2}}"#, r#"{"a":{"c":3}}"#));
    let nothing = JsonFingerprint::new().ignore("");
    assert!(compared(&nothing, "[1]", "{}"));
    assert!(
        !compared(&nothing, "[1", "{}"),
        "what has no meaning has no parts"
    );
    let all = JsonFingerprint::new().only([""]);
    assert!(compared(&all, "[1]", "[1.0]") && !compared(&all, "[1]", "[2]"));
}

#[test]
#[should_panic(expected = "JSON Pointer")]
fn a_wrong_pointer_is_told_at_once() {
    let _ = JsonFingerprint::new().ignore("metadata");
}

#[test]
#[should_panic(expected = "nothing would be compared")]
fn only_of_nothing_is_told_at_once() {
    let _ = JsonFingerprint::new().only([]);
}

/// Objects out of order, each the first member of the next: to move the bytes of each into
/// place would move the innermost a hundred times.
#[test]
fn objects_out_of_order_inside_each_other() {
    let nested = |out_of_order: bool| {
        (0..127).fold("[0]".to_owned(), |inner, nth| match out_of_order {
            true => format!("{{\"z\":{inner},\"a\":{nth}}}"),
            false => format!("{{\"a\":{nth},\"z\":{inner}}}"),
        })
    };
    assert_eq!(json(nested(true)), json(nested(false)));
    let wide = |names: &mut dyn Iterator<Item = u32>| {
        let members: Vec<_> = names
            .map(|name| format!("\"{name}\":{{\"b\":0,\"a\":{name}}}"))
            .collect();
        json(format!("{{{}}}", members.join(",")))
    };
    assert_eq!(wide(&mut (0..5000)), wide(&mut (0..5000).rev()));
}

/// A short object out of order is put in order at once, and of a long one the order is noted.
#[test]
fn short_and_long_objects_in_one_another() {
    let ignoring = JsonFingerprint::new().ignore("/same_start_b/y");
    let only = JsonFingerprint::new().only(["/same_start_b/z", "/same_start_a/0/e"]);
    for length in (3980..4100).chain([1, 9000]) {
        let fill = "x".repeat(length);
        let tangled = format!(
            r#"{{"same_start_b":{{"z":"{fill}","y":{{"d":1,"c":[2]}}}},"same_start_a":[{{"f":0,"e":1}},3]}}"#
        );
        let sorted = format!(
            r#"{{"same_start_a":[{{"e":1,"f":0}},3],"same_start_b":{{"y":{{"c":[2],"d":1}},"z":"{fill}"}}}}"#
        );
        let other = sorted.replace("[2]", "[4]");
        assert!(
            compared(&JsonFingerprint::new(), &tangled, &sorted),
            "{length}"
        );
        assert!(
            !compared(&JsonFingerprint::new(), &tangled, &other),
            "{length}"
        );
        let without = sorted.replace(r#""y":{"c":[2],"d":1},"#, "");
        assert!(compared(&ignoring, &tangled, &without), "{length}");
        assert!(
            !compared(&ignoring, &tangled, &without.replace('3', "5")),
            "{length}"
        );
        let least = format!(r#"{{"same_start_b":{{"z":"{fill}"}},"same_start_a":[{{"e":1}}]}}"#);
        assert!(compared(&only, &tangled, &least), "{length}");
        assert!(
            !compared(&only, &tangled, &least.replace('1', "6")),
            "{length}"
        );
        let twice = tangled.replace(r#""d""#, r#""c""#);
        assert!(
            !compared(&JsonFingerprint::new(), &twice, &format!("{twice} ")),
            "{length}"
        );
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec(("(samestart)?[a-e\"\\\\é]{0,9}", inner), 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Spells `value` in one of many ways, as `choices` say.
fn spelled(value: &Value, choices: &mut impl Iterator<Item = u8>) -> String {
    let white = |choice: u8| [" ", "", "\n\t", "\r\n  "][usize::from(choice % 4)];
    let space = white(choices.next().unwrap());
    let inside = match value {
        Value::Array(elements) => {
            let elements: Vec<_> = elements
                .iter()
                .map(|element| spelled(element, choices))
                .collect();
            format!("[{space}{}]", elements.join(","))
        }
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!(
                    "{}:{}",
                    spelled(&json!(name), choices),
                    spelled(value, choices)
                )
            };
            let mut members: Vec<_> = members.iter().map(member).collect();
            members.sort_by_key(|_| choices.next());
            format!("{{{}{space}}}", members.join(","))
        }
        Value::String(text) if choices.next().unwrap() % 2 == 0 => {
            let units: String = text
                .encode_utf16()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect();
            format!("\"{units}\"")
        }
        Value::Number(number) if number.is_i64() && choices.next().unwrap() % 2 == 0 => {
            format!("{number}00.0e-2")
        }
        other => other.to_string(),
    };
    format!("{space}{inside}{space}")
}

/// Changes the `nth` value that is not a container; whether there was one.
fn change(value: &mut Value, nth: &mut usize) -> bool {
    match value {
        Value::Array(elements) => elements.iter_mut().any(|element| change(element, nth)),
        Value::Object(members) => members.values_mut().any(|member| change(member, nth)),
        _ if *nth > 0 => {
            *nth -= 1;
            false
        }
        leaf => {
            *leaf = match &leaf {
                Value::Bool(value) => json!(!*value),
                Value::String(text) => json!(format!("{text}!")),
                Value::Number(number) => match number.as_i64() {
                    Some(number) => json!(number.wrapping_add(1)),
                    None => json!(number.as_f64().unwrap() + 0.5),
                },
                _ => json!(0),
            };
            true
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn order_and_spelling_do_not_count(value in value(), choices in vec(any::<u8>(), 1..64)) {
        let mut choices = choices.into_iter().cycle();
        let plain = value.to_string();
        prop_assert_eq!(json(spelled(&value, &mut choices)), json(&plain));
        prop_assert_eq!(json(serde_json::to_string_pretty(&value).unwrap()), json(&plain));
    }

    #[test]
    fn every_value_counts(value in value(), nth in 0..20_usize, choices in vec(any::<u8>(), 1..64)) {
        let mut changed = value.clone();
        if change(&mut changed, &mut { nth }) && changed != value {
            let mut choices = choices.into_iter().cycle();
            prop_assert_ne!(json(spelled(&changed, &mut choices)), json(value.to_string()));
        }
    }

    #[test]
    fn frames_do_not_count(value in value(), cuts in vec(any::<prop::sample::Index>(), 0..6), choices in vec(any::<u8>(), 1..64)) {
        let text = Bytes::from(spelled(&value, &mut choices.into_iter().cycle()));
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.sort_unstable();
        let (parts, ()) = typed("application/json").body(()).unwrap().into_parts();
        let mut state = JsonFingerprint::new().begin(&parts);
        let mut from = 0;
        for cut in cuts.into_iter().chain([text.len()]) {
            state.update(&text.slice(from..cut));
            from = cut;
        }
        prop_assert_eq!(state.finish(), json(&text));
    }
}
