//! Derived keys: that different parts never make one key, that keys never change, and that
//! the keys of other libraries are reproduced.
#![cfg(feature = "derive")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::{
    collections::HashSet,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderName, HeaderValue, Method};
use proptest::{collection::vec, prelude::*};
use serde::Deserialize;
use tower_idempotency::{
    HeaderKey, Key,
    derive::{
        Derivation,
        compat::agentidemp::{scoped_key, scoped_sha256_hex, sha256_hex, uuid5_key},
    },
};
use uuid::{Uuid, Variant};

/// A call of one of the functions of agentidemp.
#[derive(Deserialize)]
struct Call {
    r#fn: String,
    args_hex: Vec<String>,
}

impl Call {
    fn args(&self) -> Vec<Vec<u8>> {
        let bytes = |hex: &String| {
            let digits = hex.as_bytes().chunks(2);
            let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16);
            digits.map(|two| byte(two).unwrap()).collect()
        };
        self.args_hex.iter().map(bytes).collect()
    }

    fn key(&self) -> Key {
        match (self.r#fn.as_str(), &*self.args()) {
            ("sha256_hex", [content]) => sha256_hex(content),
            ("scoped_sha256_hex", [scope, content]) => scoped_sha256_hex(scope, content),
            ("scoped_key", [scope, parts @ ..]) => scoped_key(scope, parts),
            ("uuid_v5", [namespace, name]) => uuid5_key(Uuid::from_slice(namespace).unwrap(), name),
            (function, args) => panic!("{function} of {} arguments", args.len()),
        }
    }

    /// What is told apart: the arguments, and whether the first is a scope.
    fn parts(&self) -> (bool, &[String]) {
        (self.r#fn == "sha256_hex", &self.args_hex)
    }

    /// The same arguments in version 1: a scope where there is one.
    fn v1(&self) -> Derivation {
        match (self.r#fn.as_str(), &*self.args()) {
            ("sha256_hex", [content]) => Derivation::v1().part(content),
            (_, [scope, parts @ ..]) => Derivation::v1().scope(scope).parts(parts),
            (function, []) => panic!("{function} of no arguments"),
        }
    }
}

#[test]
fn agentidemp_is_reproduced() {
    #[derive(Deserialize)]
    struct Vector {
        #[serde(flatten)]
        call: Call,
        out: String,
    }
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("data/agentidemp.json")).unwrap();
    assert_eq!(vectors.len(), 93);
    for vector in vectors {
        let call = &vector.call;
        assert_eq!(
            call.key().as_str(),
            vector.out,
            "{} {:?}",
            call.r#fn,
            call.args_hex
        );
    }
}

#[test]
fn what_meets_in_agentidemp_does_not_meet_in_v1() {
    #[derive(Deserialize)]
    struct Group {
        out: String,
        inputs: Vec<Call>,
    }
    let groups = include_str!("data/agentidemp_collisions.json");
    let groups: Vec<Group> = serde_json::from_str(groups).unwrap();
    assert_eq!(groups.len(), 6);
    let apart = groups.iter().map(|group| {
        let met = |call: &Call| call.key().as_str() == group.out;
        assert!(group.inputs.iter().all(met));
        // Two of their functions may mean the same parts.
        let parts: HashSet<_> = group.inputs.iter().map(Call::parts).collect();
        let keys: HashSet<_> = group.inputs.iter().map(|call| call.v1().hex()).collect();
        assert_eq!(keys.len(), parts.len(), "{}", group.out);
        keys.len()
    });
    assert_eq!(apart.collect::<Vec<_>>(), [2, 2, 1, 4, 2, 2]);
}

/// One step of a derivation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Scope(Vec<u8>),
    Method(u8),
    Path(Vec<u8>),
    Part(Vec<u8>),
    Window(u16, u8),
}

impl Step {
    fn add(&self, derivation: Derivation) -> Derivation {
        match self {
            Self::Scope(scope) => derivation.scope(scope),
            Self::Method(index) => derivation.method(&METHODS[usize::from(*index)]),
            Self::Path(path) => derivation.path(path),
            Self::Part(part) => derivation.part(part),
            Self::Window(number, length) => {
                let length = Duration::from_secs(u64::from(*length));
                derivation.window(UNIX_EPOCH + u32::from(*number) * length, length)
            }
        }
    }
}

const METHODS: [Method; 3] = [Method::POST, Method::PUT, Method::PATCH];

fn step() -> impl Strategy<Value = Step> {
    // Few different bytes, so that lists often hold the same ones.
    let bytes = || vec(prop_oneof![Just(0), Just(b'a'), any::<u8>()], 0..4);
    prop_oneof![
        bytes().prop_map(Step::Scope),
        (0..3u8).prop_map(Step::Method),
        bytes().prop_map(Step::Path),
        bytes().prop_map(Step::Part),
        (0..3u16, 1..3u8).prop_map(|(number, length)| Step::Window(number, length)),
    ]
}

fn derivation(steps: &[Step]) -> Derivation {
    let start = Derivation::v1();
    steps
        .iter()
        .fold(start, |derivation, step| step.add(derivation))
}

proptest! {
    #[test]
    fn no_two_lists_of_parts_make_one_key(a in vec(step(), 0..4), b in vec(step(), 0..4)) {
        for form in [Derivation::hex, Derivation::short, Derivation::uuid] {
            prop_assert_eq!(a == b, form(derivation(&a)) == form(derivation(&b)));
        }
    }

    #[test]
    fn moving_a_border_makes_another_key(
        bytes in vec(any::<u8>(), 2..40),
        cuts in any::<[prop::sample::Index; 2]>(),
    ) {
        let [i, j] = cuts.map(|cut| cut.index(bytes.len()));
        let key = |at: usize| Derivation::v1().part(&bytes[..at]).part(&bytes[at..]).hex();
        prop_assert_eq!(i == j, key(i) == key(j));
    }

    #[test]
    fn every_key_is_a_legal_header_value(steps in vec(step(), 0..4)) {
        for form in [Derivation::hex, Derivation::short, Derivation::uuid] {
            let key = form(derivation(&steps));
            let value = HeaderValue::from_str(key.as_str()).unwrap();
            let headers = [(HeaderName::from_static("idempotency-key"), value)];
            let found = HeaderKey::new().find(&headers.into_iter().collect());
            prop_assert_eq!(found, Ok(Some(key)), "bare, and as it was");
        }
    }
}

#[test]
fn what_a_part_is_counts() {
    let start = Derivation::v1;
    let keys = [
        start(),
        start().part(""),
        start().part("").part(""),
        start().part("POST"),
        start().scope("POST"),
        start().path("POST"),
        start().method(&Method::POST),
        start().method(&Method::PUT),
    ];
    let keys: HashSet<_> = keys.into_iter().map(Derivation::hex).collect();
    assert_eq!(keys.len(), 8);
}

#[test]
fn json_by_its_meaning() {
    #[derive(Deserialize)]
    struct Pair {
        a: String,
        b: String,
        recommended: String,
    }
    let pairs: Vec<Pair> = serde_json::from_str(include_str!("data/json_equality.json")).unwrap();
    assert_eq!(pairs.len(), 31);
    let key = |text: &String| Derivation::v1().json(text).hex();
    for Pair { a, b, recommended } in pairs {
        let equal = recommended.ends_with("EQUAL");
        assert_eq!(key(&a) == key(&b), equal, "{a} {b} {recommended}");
    }
}

#[test]
fn json_is_another_kind_of_part() {
    for text in [r#"{"a":1}"#, "1", "no JSON", ""] {
        let (json, part) = (Derivation::v1().json(text), Derivation::v1().part(text));
        assert_ne!(json.hex(), part.hex(), "{text}");
    }
    // What has no meaning is compared as it is, and never equals what has one.
    let key = |text: &[u8]| Derivation::v1().json(text).hex();
    assert_ne!(key(br#"{"a":1,"a":1}"#), key(br#"{"a":1}"#));
    assert_ne!(key(br#"{"a":1,"a":1}"#), key(br#"{"a":1, "a":1}"#));
    assert_ne!(key(br#""\xff""#), key(br#""\xfe""#));
}

/// Clients find their operations by these: they never change.
#[test]
fn keys_of_version_1() {
    let charge = || {
        let charge = Derivation::v1().scope("tenant-42").method(&Method::POST);
        charge.path("/v1/charges").part(b"\xff\0")
    };
    assert_eq!(
        charge().hex().as_str(),
        "b57c0c0d5c83bd5cf5d6b7c4010e945527f881bf92f8b25f2fefb3ef1b6b8146"
    );
    assert_eq!(
        charge().short().as_str(),
        "ik_b57c0c0d5c83bd5cf5d6b7c4010e9455"
    );
    assert_eq!(
        charge().uuid().as_str(),
        "b57c0c0d-5c83-8d5c-b5d6-b7c4010e9455"
    );
    let day = Duration::from_secs(24 * 60 * 60);
    let daily = charge().window(UNIX_EPOCH + 20_000 * day, day);
    assert_eq!(
        daily.short().as_str(),
        "ik_0e0abbd3fcf559a51fa36e7ebca362f9"
    );
}

/// The same for JSON: how its meaning is spelled must not change either.
#[test]
fn keys_of_json_in_version_1() {
    let key = |text: &str| Derivation::v1().json(text).hex().as_str().to_owned();
    let text = r#" {"b" : {"y":"\u00e9\n", "x":null}, "a":[1.0, 25e-1, 1e30, -0.0010]}"#;
    assert_eq!(
        key(text),
        "252e8a076aa07f1b8394e756882695729119b031eef23bbf8ca4b6bae8fc147a"
    );
    assert_eq!(
        key(r#"{"a":1,"a":1}"#),
        "168cf5ef357bf39ef290616099c216722d636018f421c1acac712666b18fa164"
    );
    let nested = |depth, space| "[".repeat(depth) + space + &"]".repeat(depth);
    assert_eq!(key(&nested(128, "")), key(&nested(128, " ")));
    assert_ne!(key(&nested(129, "")), key(&nested(129, " ")));
}

#[test]
fn the_uuid_says_that_it_is_a_custom_one() {
    let uuid: Uuid = Derivation::v1().uuid().as_str().parse().unwrap();
    assert_eq!(
        (uuid.get_version_num(), uuid.get_variant()),
        (8, Variant::RFC4122)
    );
}

#[test]
#[should_panic = "a window of no time"]
fn a_window_of_no_time_is_refused() {
    let _ = Derivation::v1().window(UNIX_EPOCH, Duration::ZERO);
}

#[test]
fn parts_are_not_shown() {
    let derivation = Derivation::v1().scope("secret").part("secret");
    assert_eq!(format!("{derivation:?}"), "Derivation(2 parts)");
}
