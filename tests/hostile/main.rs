//! What the fuzz targets try for hours, for a moment.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod invariants;
mod json;

use proptest::{collection::vec, prelude::*};

/// Bytes that are often what the parser of a field looks at.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(b"\"\\;,= \ta*:?()-1".to_vec()),
        4 => b' '..=b'~',
        1 => any::<u8>(),
    ];
    let text = vec(byte, 0..300);
    prop_oneof![
        text.clone(),
        text.prop_map(|text| [b"\"", &text[..], b"\""].concat()),
    ]
}

/// Sections with lengths that are near the truth.
fn sections() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![20 => "[a-z-]{1,3}", 1 => "[A-Z]{0,1}"];
    let byte = prop_oneof![20 => b' '..=b'~', 1 => any::<u8>()];
    let field = (name, vec(byte, 0..4)).prop_map(|(name, value)| {
        let name_len = u16::try_from(name.len()).unwrap().to_be_bytes();
        let value_len = u32::try_from(value.len()).unwrap().to_be_bytes();
        [&name_len[..], &value_len, name.as_bytes(), &value].concat()
    });
    let block = vec(field, 0..3).prop_map(|fields| fields.concat());
    let status = prop_oneof![1 => Just(0), 4 => 100..1000_u16, 1 => any::<u16>()];
    (
        0..4_u8,
        any::<[u8; 33]>(),
        status,
        [block.clone(), block],
        vec(any::<u8>(), 0..9),
    )
        .prop_map(|(kind, fingerprint, status, [headers, trailers], body)| {
            let short = |block: &[u8]| u32::try_from(block.len()).unwrap().to_be_bytes();
            let head = [&[kind], &fingerprint[..], &status.to_be_bytes()].concat();
            let lengths = [short(&headers), short(&trailers)].concat();
            let body_len = (body.len() as u64).to_be_bytes();
            [&head[..], &lengths, &body_len, &headers, &trailers, &body].concat()
        })
}

/// Texts that are JSON, or nearly, out of a few pieces, so that two are often equal.
fn json_text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "nul",
        "0",
        "-0",
        "1",
        "1.0",
        "10e-1",
        "-1",
        "100",
        "1e2",
        "01",
        "0.5",
        "5e-1",
        "12345678901234567890",
        "12345678901234567891",
        "1.",
        "1e",
        "-",
        "\"\"",
        "\"a\"",
        "\"\\u0061\"",
        "\"b\"",
        "\"\\n\"",
        "\"\\\"\"",
        "\"\\u0022\"",
        "\"é\"",
        "\"\\u00e9\"",
        "\"😀\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\x\"",
        "\"\u{1}\"",
        "\"a long string of text\"",
        "[",
        "{}",
    ]);
    let white = prop::sample::select(vec!["", "", "", " ", "\n\t "]);
    let name = prop::sample::select(vec![
        "\"\"",
        "\"a\"",
        "\"\\u0061\"",
        "\"b\"",
        "\"c\"",
        "\"a long name\"",
        "\"a long nam\"",
        "\"é\"",
        "\"\\\"\"",
    ]);
    let leaf = (white, word).prop_map(|(white, word)| format!("{white}{word}{white}"));
    leaf.prop_recursive(6, 40, 5, move |inner| {
        let member =
            (name.clone(), inner.clone()).prop_map(|(name, value)| format!("{name}:{value}"));
        prop_oneof![
            1 => vec(inner, 0..4).prop_map(|elements| format!("[{}]", elements.join(","))),
            3 => vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_as_json(a in vec(any::<u8>(), 0..20), b in vec(any::<u8>(), 0..20)) {
        json::fingerprints(&a, &b);
    }

    #[test]
    fn texts_that_may_be_json(
        a in json_text(),
        b in json_text(),
        change in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        json::fingerprints(a.as_bytes(), b.as_bytes());
        let mut changed = a.clone().into_bytes();
        let at = change.0.index(changed.len());
        changed[at] = change.1;
        json::fingerprints(a.as_bytes(), &changed);
    }
}

proptest! {
    #[test]
    fn any_bytes_as_a_record(bytes in vec(any::<u8>(), 0..200)) {
        invariants::decode_record(&bytes);
        invariants::decode_sections(&bytes);
    }

    #[test]
    fn any_bytes_as_a_slot(state in 0..4_u8, bytes in vec(any::<u8>(), 0..120)) {
        invariants::decode_slot(&bytes);
        invariants::decode_slot_sections(&[&[state], &bytes[..]].concat());
    }

    #[test]
    fn nearly_right_sections(
        mut bytes in sections(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        invariants::decode_sections(&bytes);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        invariants::decode_sections(&bytes);
    }

    #[test]
    fn any_lines_as_a_key(lines in vec(line(), 0..3)) {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        invariants::key_header(&lines);
        invariants::key_header(&lines[..lines.len().min(1)]);
    }
}
