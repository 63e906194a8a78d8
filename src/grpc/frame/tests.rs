use std::io::Write as _;

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http::HeaderMap;
use proptest::prelude::*;

use super::*;

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, message].concat()
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn zlib(message: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn messages(encoding: &'static str) -> Messages {
    let fields = [("grpc-encoding".parse().unwrap(), encoding.parse().unwrap())];
    let encoding = Encoding::of(&HeaderMap::from_iter(fields));
    Messages::new(GrowingDigest::behind("test", |_| {}), encoding, 1000)
}

fn digest(encoding: &'static str, body: &[u8]) -> [u8; 32] {
    let mut messages = messages(encoding);
    messages.update(Bytes::copy_from_slice(body));
    messages.finish()
}

/// Bodies that are all different, and why.
fn different() -> Vec<Vec<u8>> {
    let (ab, a, b) = (framed(0, b"ab"), framed(0, b"a"), framed(0, b"b"));
    vec![
        Vec::new(),
        framed(0, b""),
        framed(0, b"").repeat(2),
        ab.clone(),
        framed(0, b"ac"),
        // Two messages are not one.
        [a.clone(), b.clone()].concat(),
        [b, a].concat(),
        // Compressed, and not.
        framed(1, b"ab"),
        framed(1, b""),
        // Flags that nobody has defined.
        framed(2, b"ab"),
        framed(0x81, b"ab"),
        // Cut within the prefix, at its end, and within the message.
        ab[..1].to_vec(),
        ab[..4].to_vec(),
        ab[..5].to_vec(),
        ab[..6].to_vec(),
        // The same two bytes of a longer message, and of the longest there can be.
        b"\0\0\0\0\x03ab".to_vec(),
        b"\0\xff\xff\xff\xffab".to_vec(),
        b"\x01\xff\xff\xff\xffab".to_vec(),
        // No framing behind a message.
        [ab.clone(), b"x".to_vec()].concat(),
        [ab, b"\x07nonsense".to_vec()].concat(),
    ]
}

#[test]
fn different_bodies_differ() {
    let digests: Vec<_> = different()
        .iter()
        .map(|body| digest("gzip", body))
        .collect();
    for (i, a) in digests.iter().enumerate() {
        for (j, b) in digests.iter().enumerate() {
            assert_eq!(i == j, a == b, "{i} and {j}");
        }
    }
}

#[test]
fn compression_does_not_count() {
    let (one, two) = (b"the first message", b"and the second");
    let plain = digest("identity", &[framed(0, one), framed(0, two)].concat());
    let gzipped = [framed(1, &gzip(one)), framed(1, &gzip(two))].concat();
    let mixed = [framed(1, &gzip(one)), framed(0, two)].concat();
    let deflated = [framed(0, one), framed(1, &zlib(two))].concat();
    assert_eq!(digest("gzip", &gzipped), plain);
    assert_eq!(digest("gzip", &mixed), plain);
    assert_eq!(digest("deflate", &deflated), plain);
    // Sent under another name, or one not known here, they are other bytes.
    assert_ne!(digest("deflate", &gzipped), plain);
    assert_ne!(digest("zstd", &gzipped), plain);
    assert_ne!(digest("zstd", &gzipped), digest("br", &gzipped));
    assert_eq!(digest("zstd", &gzipped), digest("zstd", &gzipped));
}

#[test]
fn what_is_unpacked_is_bounded_over_all_messages() {
    let many = |times: usize, length: usize| {
        let packed = framed(1, &gzip(&vec![0; length])).repeat(times);
        let plain = framed(0, &vec![0; length]).repeat(times);
        digest("gzip", &packed) == digest("gzip", &plain)
    };
    assert!(many(1, 1000) && many(2, 500));
    assert!(!many(1, 1001) && !many(2, 501));
    // To begin is what takes most of the time for a small one.
    assert!(many(4, 1) && !many(5, 1) && !many(5, 0));
}

#[test]
fn a_cut_message_is_not_the_whole_of_it() {
    for (encoding, packed) in [("gzip", gzip(b"message")), ("deflate", zlib(b"message"))] {
        let whole = digest(encoding, &framed(0, b"message"));
        for end in 0..packed.len() {
            let cut = digest(encoding, &framed(1, &packed[..end]));
            assert_ne!(cut, whole, "{encoding} {end}");
        }
    }
}

proptest! {
    #[test]
    fn pieces_do_not_count(
        body in 0..different().len(),
        compressed in any::<bool>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut body = different().swap_remove(body);
        if compressed {
            body = [framed(1, &gzip(&body)), body].concat();
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut messages, mut from) = (messages("gzip"), 0);
        for cut in cuts {
            messages.update(Bytes::copy_from_slice(&body[from..cut]));
            from = cut;
        }
        messages.update(Bytes::copy_from_slice(&body[from..]));
        prop_assert_eq!(messages.finish(), digest("gzip", &body));
    }

    #[test]
    fn nonsense_is_taken(body in any::<Vec<u8>>()) {
        digest("gzip", &body);
    }
}
