//! What a wrapper hides from the store, and what it makes of a store that was tampered with.
#![cfg(all(feature = "memory", feature = "encryption"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tower_idempotency::{
    Fingerprint, MemoryStore, Record, RecordKey, Store,
    store::{
        Claim, Claimed, Completion, Encrypted, EncryptionKeys, Lease, Standing, StoreErrorKind,
    },
};

const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);
const HOUR: Duration = Duration::from_secs(3600);

fn key(number: u8) -> RecordKey {
    RecordKey::from_bytes([number; 32])
}

fn keys() -> EncryptionKeys {
    EncryptionKeys::new(1, &[7; 32])
}

fn answer() -> Record {
    Record::answer(REQUEST, &Response::new(Bytes::from_static(b"a secret")))
}

async fn claim(store: &impl Store, number: u8) -> Result<Claimed, StoreErrorKind> {
    let key = key(number);
    let claimed = store.claim(&Claim::new(&key, REQUEST)).await;
    claimed.map_err(|error| error.kind())
}

async fn acquire(store: &impl Store, number: u8) -> Lease {
    match claim(store, number).await {
        Ok(Claimed::Acquired(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

async fn complete(store: &impl Store, number: u8, record: &Record) -> Lease {
    let lease = acquire(store, number).await;
    let completion = store.complete(&lease, record, HOUR).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
    lease
}

/// What the store below has under a key.
async fn kept(below: &MemoryStore, number: u8) -> Record {
    match claim(below, number).await {
        Ok(Claimed::Completed { record, .. }) => record,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_store_sees_nothing_of_the_answer() {
    let below = MemoryStore::new();
    let store = Encrypted::new(below.clone(), keys());
    complete(&store, 1, &answer()).await;
    let kept = kept(&below, 1).await;
    assert_eq!((kept.status(), kept.body().len()), (None, 0));
    let bytes = kept.encoded();
    assert!(!bytes.windows(6).any(|bytes| bytes == b"secret"));
    assert_eq!(kept.fingerprint(), REQUEST);
}

#[tokio::test]
async fn a_record_moved_to_another_key_is_corrupt_and_never_absent() {
    let below = MemoryStore::new();
    let store = Encrypted::new(below.clone(), keys());
    complete(&store, 1, &answer()).await;
    let stolen = kept(&below, 1).await;
    let zombie = complete(&below, 2, &stolen).await;
    assert_eq!(claim(&store, 2).await, Err(StoreErrorKind::Corrupt));
    // And a loser still hears that he lost.
    let lost = Completion::Lost(Standing::Completed(Record::sealed(REQUEST)));
    assert_eq!(store.release(&zombie).await.unwrap(), lost);
    assert_eq!(store.renew(&zombie).await.unwrap(), lost);
}

#[tokio::test]
async fn a_record_made_up_in_the_store_is_corrupt() {
    let below = MemoryStore::new();
    let store = Encrypted::new(below.clone(), keys());
    let zombie = complete(&below, 1, &answer()).await;
    complete(&below, 2, &Record::wrapped(REQUEST, Bytes::new())).await;
    for number in [1, 2] {
        assert_eq!(claim(&store, number).await, Err(StoreErrorKind::Corrupt));
    }
    let lost = Completion::Lost(Standing::Completed(Record::sealed(REQUEST)));
    assert_eq!(store.release(&zombie).await.unwrap(), lost);
}

#[tokio::test]
async fn records_from_before_there_were_keys_open_only_if_asked() {
    let below = MemoryStore::new();
    complete(&below, 1, &answer()).await;
    let store = Encrypted::new(below, keys());
    assert_eq!(claim(&store, 1).await, Err(StoreErrorKind::Corrupt));
    let store = store.danger_open_plain();
    let claimed = claim(&store, 1).await.unwrap();
    assert!(matches!(claimed, Claimed::Completed { record, .. } if record == answer()));
}

#[tokio::test]
async fn nodes_change_their_keys_one_after_the_other() {
    let below = MemoryStore::new();
    let (old, new) = ((1, [7; 32]), (2, [8; 32]));
    let node = |keys| Encrypted::new(below.clone(), keys);
    let before = node(EncryptionKeys::new(old.0, &old.1));
    let prepared = node(EncryptionKeys::new(old.0, &old.1).also_opens(new.0, &new.1));
    let changed = node(EncryptionKeys::new(new.0, &new.1).also_opens(old.0, &old.1));
    let after = node(EncryptionKeys::new(new.0, &new.1));
    complete(&before, 1, &answer()).await;
    complete(&changed, 2, &answer()).await;
    for (node, opens) in [
        (&before, [true, false]),
        (&prepared, [true, true]),
        (&changed, [true, true]),
        (&after, [false, true]),
    ] {
        for (number, opens) in [1, 2].into_iter().zip(opens) {
            let claimed = claim(node, number).await;
            assert_eq!(claimed.is_ok(), opens, "{claimed:?}");
            assert!(opens || claimed == Err(StoreErrorKind::Corrupt));
        }
    }
}
