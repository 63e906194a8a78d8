//! A record comes back as it went in.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    Harness,
    scene::{REQUEST, Scene, replayed},
};
use crate::{
    fields::RecordedHeaders,
    frames::Frames,
    record::{Answer, Content, Record},
    store::Completion,
};

/// Repeated header fields and their order, values that are not UTF-8, empty values, all
/// bytes in the body, several frames, and trailers all survive.
pub async fn record_survives_byte_for_byte<H: Harness>(harness: &H) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let frames = [Bytes::from(all_bytes), Bytes::from_static(b"\0\r\n\0")];
    assert_survives(harness, &answer(frames.into_iter().collect())).await;
}

/// A sealed record survives, and is not taken for an answer.
pub async fn sealed_record_survives<H: Harness>(harness: &H) {
    assert_survives(harness, &Record::sealed(REQUEST)).await;
}

/// An answer without a body survives.
pub async fn empty_body_survives<H: Harness>(harness: &H) {
    assert_survives(harness, &answer(Frames::new())).await;
}

/// A body of 1 MiB, the default limit of the layer, survives.
pub async fn body_of_a_mebibyte_survives<H: Harness>(harness: &H) {
    let bytes = (0..1_u32 << 18).flat_map(|i| i.wrapping_mul(0x9E37_79B9).to_ne_bytes());
    assert_survives(harness, &answer(Bytes::from_iter(bytes).into())).await;
}

async fn assert_survives<H: Harness>(harness: &H, record: &Record) {
    let scene = Scene::new(harness).await;
    let lease = scene.acquire().await;
    let completion = scene.complete(&lease, record).await;
    assert_eq!(completion, Completion::Applied);
    let found = replayed(scene.other_found(&scene.claim()).await);
    assert_eq!(found.encoded(), record.encoded(), "{found:?} of {record:?}");
}

fn answer(body: Frames) -> Record {
    let pack = |fields: &_| RecordedHeaders::new().pack(fields);
    let headers = fields(&[
        ("x-twice", b"1"),
        ("content-type", b"text/plain"),
        ("x-bytes", b"caf\xC3\xA9 \xFF\t"),
        ("x-empty", b""),
        ("x-twice", b"2"),
    ]);
    let trailers = fields(&[("x-sum", b"\x80"), ("x-sum", b"2")]);
    let content = Content::Answer(Answer {
        status: StatusCode::IM_A_TEAPOT,
        headers: pack(&headers),
        body,
        trailers: Some(Box::new(pack(&trailers))),
    });
    Record::new(REQUEST, content)
}

fn fields(fields: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value).expect("a legal value");
        map.append(*name, value);
    }
    map
}
