//! Opening: good files are kept, others refused with the remedy.

use std::{fs::File, path::Path, time::Duration};

use tower_idempotency::{
    SqliteStore, Store,
    store::{
        Claim, Claimed, Completion, Resolution, Standing, StoreErrorKind,
        sqlite::{SqliteOpenErrorKind, SqliteOptions},
    },
};

use crate::file::{
    HOUR, Place, REQUEST, acquire, answer, bytes_of, complete, found, is_replay, key,
};

async fn refusal(path: &Path) -> (SqliteOpenErrorKind, String) {
    let options = SqliteOptions::new().busy_timeout(Duration::from_millis(20));
    let error = options.open(path).await.unwrap_err();
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let place = Place::new();
    let store = place.store().await;
    let first = complete(&store, 1, HOUR).await;
    let held = acquire(&store, 2).await;
    drop(store);
    let store = place.store().await;
    assert!(is_replay(&found(&store, 1).await, 1));
    assert!(matches!(found(&store, 2).await, Claimed::InFlight { .. }));
    let completion = store.complete(&held, &answer(2), HOUR).await;
    assert_eq!(completion.unwrap(), Completion::Applied);
    assert!(acquire(&store, 3).await.fence() > held.fence());
    assert!(held.fence() > first.fence());
}

#[tokio::test]
async fn who_waits_for_others_without_end_can_open_it() {
    let place = Place::new();
    let options = SqliteOptions::new().busy_timeout(Duration::MAX);
    let store = options.open(place.file()).await.unwrap();
    complete(&store, 1, Duration::MAX).await;
    assert!(is_replay(&found(&store, 1).await, 1));
}

#[tokio::test]
async fn fences_go_on_though_the_file_is_empty() {
    let place = Place::new();
    let store = place.store().await;
    let lease = acquire(&store, 1).await;
    store.release(&lease).await.unwrap();
    drop(store);
    let store = place.store().await;
    assert_eq!(store.count().await.unwrap(), 0);
    assert!(acquire(&store, 1).await.fence() > lease.fence());
}

#[tokio::test]
async fn fences_go_on_from_the_last_one_in_the_file() {
    let place = Place::new();
    drop(place.store().await);
    let last = 1_u64 << 60;
    let set = format!("UPDATE idempotency_file SET fence = {last}");
    place.shell().execute(&set, []).unwrap();
    for number in 1..5 {
        let lease = acquire(&place.store().await, 1).await;
        assert_eq!(lease.fence().get(), last + number);
        place.store().await.release(&lease).await.unwrap();
    }
}

#[tokio::test]
async fn fences_go_on_though_the_file_is_lost() {
    let lease = acquire(&Place::new().store().await, 1).await;
    let another = acquire(&Place::new().store().await, 1).await;
    assert!(another.fence() > lease.fence());
}

/// As the documentation says of a file that is deleted while it is used.
#[cfg(unix)]
#[tokio::test]
async fn a_process_keeps_the_file_it_has_opened() {
    let place = Place::new();
    let old = place.store().await;
    acquire(&old, 1).await;
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        std::fs::remove_file(place.other(name)).unwrap();
    }
    let new = place.store().await;
    acquire(&new, 1).await;
    assert!(matches!(found(&old, 1).await, Claimed::InFlight { .. }));
}

#[tokio::test]
async fn a_directory_that_is_missing_cannot_be_opened() {
    let place = Place::new();
    let (kind, text) = refusal(&place.other("missing/keys.db")).await;
    assert_eq!(kind, SqliteOpenErrorKind::CannotOpen);
    assert!(text.contains("missing/keys.db") && text.contains("make its directory"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_untouched() {
    let place = Place::new();
    let path = place.other("notes.txt");
    let notes = b"these are my notes, and they are longer than a header".repeat(3);
    std::fs::write(&path, &notes).unwrap();
    let (kind, text) = refusal(&path).await;
    assert_eq!(kind, SqliteOpenErrorKind::NotADatabase);
    assert!(text.contains("name another file"), "{text}");
    assert_eq!(bytes_of(&path), notes);
}

#[tokio::test]
async fn a_database_of_another_application_is_refused_and_untouched() {
    let place = Place::new();
    let shell = place.shell();
    shell.execute_batch("CREATE TABLE people (name)").unwrap();
    let before = bytes_of(&place.file());
    let (kind, text) = refusal(&place.file()).await;
    assert_eq!(kind, SqliteOpenErrorKind::OfAnotherApplication);
    assert!(text.contains("a file of its own"), "{text}");
    assert_eq!(bytes_of(&place.file()), before);
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let place = Place::new();
    drop(place.store().await);
    let later = "PRAGMA user_version = 2";
    place.shell().execute_batch(later).unwrap();
    let (kind, text) = refusal(&place.file()).await;
    assert_eq!(kind, SqliteOpenErrorKind::LaterVersion);
    assert!(text.contains("update this process"), "{text}");
}

#[tokio::test]
async fn a_file_that_may_only_be_read_is_refused() {
    let place = Place::new();
    acquire(&place.store().await, 1).await;
    let mut permissions = std::fs::metadata(place.file()).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(place.file(), permissions).unwrap();
    if File::options().write(true).open(place.file()).is_ok() {
        // Root may write it all the same.
        return;
    }
    let (kind, text) = refusal(&place.file()).await;
    assert_eq!(kind, SqliteOpenErrorKind::ReadOnly);
    assert!(text.contains("let this process write"), "{text}");
}

#[tokio::test]
async fn a_database_in_memory_is_refused() {
    for path in [":memory:", ""] {
        let (kind, text) = refusal(Path::new(path)).await;
        assert_eq!(kind, SqliteOpenErrorKind::NoWriteAheadLog);
        assert!(text.contains("MemoryStore"), "{text}");
    }
}

#[tokio::test]
async fn a_new_file_that_somebody_keeps_locked_is_refused() {
    let place = Place::new();
    let shell = place.shell();
    shell.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (kind, text) = refusal(&place.file()).await;
    assert_eq!(kind, SqliteOpenErrorKind::Locked);
    assert!(text.contains("busy timeout"), "{text}");
    drop(shell);
    acquire(&place.store().await, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_can_be_opened_by_many_at_once() {
    for _ in 0..5 {
        let place = Place::new();
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let options = SqliteOptions::new().busy_timeout(HOUR);
            opening.spawn(options.open(place.file()));
        }
        for (number, store) in (0..).zip(opening.join_all().await) {
            acquire(&store.unwrap(), number).await;
        }
    }
}

#[tokio::test]
async fn neither_replays_nor_refusals_write() {
    let place = Place::new();
    let store = place.store().await;
    complete(&store, 1, HOUR).await;
    let held = acquire(&store, 2).await;
    let shell = place.shell();
    let version = || -> i64 {
        let version = shell.query_row("PRAGMA data_version", [], |row| row.get(0));
        version.unwrap()
    };
    let before = version();
    let other_request = tower_idempotency::Fingerprint::custom([2; 32]);
    for _ in 0..20 {
        assert!(is_replay(&found(&store, 1).await, 1));
        assert!(matches!(found(&store, 2).await, Claimed::InFlight { .. }));
        let key = key(1);
        let mismatch = store.claim(&Claim::new(&key, other_request)).await;
        assert_eq!(mismatch.unwrap(), Claimed::Mismatch);
    }
    assert_eq!(version(), before);
    store.renew(&held).await.unwrap();
    assert_ne!(version(), before, "this test sees a write");
}

#[tokio::test]
async fn replays_wait_for_no_writer() {
    let place = Place::new();
    let store = place.store().await;
    complete(&store, 1, HOUR).await;
    let shell = place.shell();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(is_replay(&found(&store, 1).await, 1));
}

/// On a runtime with one thread: if the store blocked it, nobody could release the lock.
#[tokio::test]
async fn a_write_that_waits_holds_up_no_other_task() {
    let place = Place::new();
    let options = SqliteOptions::new().busy_timeout(HOUR);
    let store = options.open(place.file()).await.unwrap();
    let shell = place.shell();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let release = async {
        tokio::task::yield_now().await;
        shell.execute_batch("COMMIT").unwrap();
    };
    let (lease, ()) = tokio::join!(acquire(&store, 1), release);
    assert_eq!(lease.attempt(), 1);
}

#[tokio::test]
async fn damaged_rows_are_corrupt_and_never_absent() {
    let place = Place::new();
    let store = place.store().await;
    complete(&store, 1, HOUR).await;
    acquire(&store, 2).await;
    let shell = place.shell();
    let damage = "UPDATE idempotency_keys SET record = zeroblob(40) WHERE record IS NOT NULL;
                  UPDATE idempotency_keys SET token = zeroblob(3) WHERE record IS NULL";
    shell.execute_batch(damage).unwrap();
    for number in [1, 2] {
        let key = key(number);
        let error = store.claim(&Claim::new(&key, REQUEST)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    }
    acquire(&store, 3).await;
}

#[tokio::test]
async fn operators_forget_damaged_rows() {
    let place = Place::new();
    let store = place.store().await;
    let lease = acquire(&store, 1).await;
    let damage = "UPDATE idempotency_keys SET token = zeroblob(3)";
    place.shell().execute_batch(damage).unwrap();
    let forget = async || store.forget(lease.key()).await;
    let error = forget().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert_eq!(forget().await.unwrap(), Standing::Absent);
    assert!(acquire(&store, 1).await.fence() > lease.fence());
}

#[tokio::test]
async fn expired_keys_are_cleared_away() {
    let place = Place::new();
    let store = place.store().await;
    for number in 0..20 {
        complete(&store, number, HOUR).await;
    }
    acquire(&store, 20).await;
    assert_eq!(store.sweep().await.unwrap(), 0);
    place.pass(HOUR);
    // Two for each key written, and nothing in flight.
    let lease = acquire(&store, 100).await;
    assert_eq!(store.count().await.unwrap(), 22 - 2);
    store.renew(&lease).await.unwrap();
    assert_eq!(store.count().await.unwrap(), 22 - 4);
    assert_eq!(store.sweep().await.unwrap(), 16);
    assert_eq!(store.count().await.unwrap(), 2);
}

#[tokio::test]
async fn a_sweep_counts_all_that_it_clears_away() {
    let place = Place::new();
    let store = place.store().await;
    let all = (0..700).map(|number| complete(&store, number, HOUR));
    futures_util::future::join_all(all).await;
    place.pass(HOUR);
    assert_eq!(store.sweep().await.unwrap(), 700);
    assert_eq!(store.count().await.unwrap(), 0);
}

#[tokio::test]
async fn time_goes_on_from_what_the_file_has_seen() {
    let place = Place::new();
    let store = place.store().await;
    complete(&store, 1, HOUR * 3).await;
    place.pass(HOUR);
    // Another process, whose wall clock is behind.
    let Claimed::Completed { remaining, .. } = found(&place.store().await, 1).await else {
        panic!("not completed");
    };
    assert!(remaining <= HOUR * 2, "{remaining:?}");
    place.pass(HOUR * 2);
    acquire(&store, 1).await;
}

#[tokio::test]
async fn operators_forget_and_resolve() {
    let place = Place::new();
    let store = place.store().await;
    let response = http::Response::new("by hand".into());
    let zombie = acquire(&store, 1).await;
    let resolve = async |number| store.resolve(&key(number), &response, HOUR).await.unwrap();
    assert_eq!(resolve(2).await, Resolution::Absent);
    assert_eq!(resolve(1).await, Resolution::StillInFlight);
    place.pass(zombie.duration());
    assert_eq!(resolve(1).await, Resolution::Resolved);
    assert_eq!(resolve(1).await, Resolution::AlreadyCompleted);
    let lost = store.complete(&zombie, &answer(1), HOUR).await.unwrap();
    assert!(matches!(lost, Completion::Lost(Standing::Completed(_))));
    let standing = store.forget(&key(1)).await.unwrap();
    assert!(matches!(standing, Standing::Completed(_)));
    assert_eq!(store.forget(&key(1)).await.unwrap(), Standing::Absent);
    assert!(acquire(&store, 1).await.fence() > zombie.fence());
}

#[tokio::test]
async fn a_waiter_of_this_process_is_woken_by_what_was_committed() {
    let place = Place::new();
    let store = place.store().await;
    for number in 0..50 {
        let lease = acquire(&store, number).await;
        let settled = store.settled(lease.key(), lease.fence(), HOUR);
        let record = answer(number);
        let complete = store.complete(&lease, &record, HOUR);
        let (settled, completion) = tokio::join!(settled, complete);
        assert_eq!(
            (settled.unwrap(), completion.unwrap()),
            ((), Completion::Applied)
        );
        assert!(is_replay(&found(&store, number).await, number));
    }
}

#[tokio::test]
async fn clones_share_the_file() {
    let place = Place::new();
    let store = place.store().await;
    let clone: SqliteStore = store.clone();
    acquire(&store, 1).await;
    drop(store);
    assert!(matches!(found(&clone, 1).await, Claimed::InFlight { .. }));
    assert_eq!(format!("{clone:?}"), "SqliteStore { .. }");
}
