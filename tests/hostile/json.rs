//! What a JSON text means, told slowly, by somebody else's parser. Shared with a fuzz
//! target.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use http::Request;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tower_idempotency::{Fingerprint, Fingerprinter as _, JsonFingerprint};

/// Two texts have one fingerprint if they mean the same, or are the same; how they are cut
/// into pieces does not count, nor how what they mean is spelled.
pub(crate) fn fingerprints(a: &[u8], b: &[u8]) {
    let expected = match (meaning(a), meaning(b)) {
        (Err(Meaningless::Untold), _) | (_, Err(Meaningless::Untold)) => None,
        (Ok(a), Ok(b)) => Some(a == b),
        (Err(Meaningless::Unfit), Err(Meaningless::Unfit)) => Some(a == b),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => Some(false),
    };
    let fingerprints = [whole(a), whole(b)];
    if let Some(equal) = expected {
        assert_eq!(fingerprints[0] == fingerprints[1], equal);
    }
    let both_mean = [a, b].iter().all(|text| meaning(text).is_ok());
    for by in [
        JsonFingerprint::new().ignore("/a").ignore("/b/0"),
        JsonFingerprint::new().only(["/a", "/b/1"]),
    ] {
        let fingerprints = [a, b].map(|text| of_by(&by, [text]));
        assert_eq!([a, b].map(|text| of_by(&by, text.chunks(1))), fingerprints);
        // Parts of a text that has a meaning may be left out, and of no other.
        if let Some(equal) = expected.filter(|equal| *equal || !both_mean) {
            assert_eq!(fingerprints[0] == fingerprints[1], equal, "{by:?}");
        }
    }
    for (text, fingerprint) in [a, b].into_iter().zip(fingerprints) {
        assert_eq!(of(text.chunks(1)), fingerprint, "byte by byte");
        for cut in (0..text.len()).step_by(1 + text.len() / 16) {
            let (one, other) = text.split_at(cut);
            assert_eq!(of([one, other]), fingerprint, "cut at {cut}");
        }
        if let Ok(meaning) = meaning(text) {
            let mut spelled = String::new();
            meaning.spell(&mut spelled);
            assert_eq!(whole(spelled.as_bytes()), fingerprint, "{spelled}");
        }
    }
}

fn whole(text: &[u8]) -> Fingerprint {
    of([text])
}

fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
    of_by(&JsonFingerprint::new(), pieces)
}

fn of_by<'a>(by: &JsonFingerprint, pieces: impl IntoIterator<Item = &'a [u8]>) -> Fingerprint {
    let request = Request::post("/").header("content-type", "application/json");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let mut state = by.begin(&parts);
    for piece in pieces {
        state.update(&Bytes::copy_from_slice(piece));
    }
    state.finish()
}

/// What a text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    Null,
    Bool(bool),
    /// Its sign, its digits, and the power of ten of the last of them.
    Number(bool, String, i128),
    Text(String),
    Array(Vec<Meaning>),
    Object(BTreeMap<String, Meaning>),
}

/// Why a text has none.
#[derive(Debug)]
pub(crate) enum Meaningless {
    /// It never has.
    Unfit,
    /// It is too large for this parser.
    Untold,
}

impl Meaning {
    /// Spells it as nobody does: members the other way round, every character by its
    /// number, every number with a point.
    fn spell(&self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null "),
            Self::Bool(value) => text.push_str(&format!(" {value}\n")),
            Self::Number(negative, digits, exponent) => {
                let sign = if *negative { "-" } else { "" };
                let exponent = exponent + digits.len() as i128 + 1;
                text.push_str(&format!("{sign}0.0{digits}0e{exponent}"));
            }
            Self::Text(value) => spell_text(value, text),
            Self::Array(elements) => spell_all("[]", elements.iter(), text, Self::spell),
            Self::Object(members) => {
                spell_all("{}", members.iter().rev(), text, |(name, value), text| {
                    spell_text(name, text);
                    text.push_str(" :\t");
                    value.spell(text);
                });
            }
        }
    }
}

fn spell_text(value: &str, text: &mut String) {
    let units = value.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
    text.push_str(&format!("\"{}\"", units.collect::<String>()));
}

fn spell_all<T>(
    brackets: &str,
    all: impl Iterator<Item = T>,
    text: &mut String,
    spell: impl Fn(T, &mut String),
) {
    let (open, close) = brackets.split_at(1);
    text.push_str(open);
    for (nth, one) in all.enumerate() {
        text.push_str(if nth > 0 { "\r\n, " } else { "" });
        spell(one, text);
    }
    text.push_str(close);
}

pub(crate) fn meaning(text: &[u8]) -> Result<Meaning, Meaningless> {
    let text = std::str::from_utf8(text).map_err(|_| Meaningless::Unfit)?;
    let value: &RawValue = serde_json::from_str(text).map_err(|_| Meaningless::Unfit)?;
    value_of(value.get(), 0)
}

fn value_of(text: &str, depth: usize) -> Result<Meaning, Meaningless> {
    Ok(match text.as_bytes()[0] {
        b'n' => Meaning::Null,
        b't' => Meaning::Bool(true),
        b'f' => Meaning::Bool(false),
        b'"' => Meaning::Text(serde_json::from_str(text).map_err(|_| Meaningless::Unfit)?),
        b'[' | b'{' if depth == 128 => return Err(Meaningless::Unfit),
        b'[' => {
            let elements: Vec<&RawValue> =
                serde_json::from_str(text).map_err(|_| Meaningless::Unfit)?;
            let elements = elements
                .iter()
                .map(|element| value_of(element.get(), depth + 1));
            Meaning::Array(elements.collect::<Result<_, _>>()?)
        }
        b'{' => {
            let Members(members) = serde_json::from_str(text).map_err(|_| Meaningless::Unfit)?;
            let count = members.len();
            let members = members
                .into_iter()
                .map(|(name, value)| Ok((name, value_of(value.get(), depth + 1)?)));
            let members: BTreeMap<_, _> = members.collect::<Result<_, _>>()?;
            if members.len() < count {
                return Err(Meaningless::Unfit);
            }
            Meaning::Object(members)
        }
        _ => number(text)?,
    })
}

fn number(text: &str) -> Result<Meaning, Meaningless> {
    let negative = text.starts_with('-');
    let text = text.trim_start_matches('-').to_lowercase();
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i128 = exponent.parse().map_err(|_| Meaningless::Untold)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    let exponent = exponent - fraction.len() as i128;
    let significant = digits.trim_end_matches('0');
    let exponent = exponent + (digits.len() - significant.len()) as i128;
    Ok(match significant.trim_start_matches('0') {
        "" => Meaning::Number(false, String::new(), 0),
        digits => Meaning::Number(negative, digits.to_owned(), exponent),
    })
}

/// All members, those with the same name too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}
