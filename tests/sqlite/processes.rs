//! Several processes on one file.

use std::{collections::HashSet, time::Duration};

use tower_idempotency::{
    SqliteStore, Store,
    store::{Claim, Claimed, Completion, sqlite::SqliteOptions},
};

use crate::{
    children::{self, Process},
    file::{HOUR, Place, REQUEST, answer, is_replay, key},
};

const KEYS: u32 = 1000;
const DUPLICATES: usize = 5;

/// Sends every key several times, at the same time as another process does.
async fn run(file: String) {
    // However slow the disk is.
    let options = SqliteOptions::new().busy_timeout(Duration::from_secs(60));
    let store = options.open(file).await.unwrap();
    children::tell("ready");
    children::wait();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..KEYS {
        for _ in 0..DUPLICATES {
            tasks.spawn(request(store.clone(), number));
        }
    }
    tasks.join_all().await;
}

/// Runs the operation unless somebody else does or did; ends with its answer.
async fn request(store: SqliteStore, number: u32) {
    let key = key(number);
    loop {
        match store.claim(&Claim::new(&key, REQUEST)).await.unwrap() {
            Claimed::Acquired(lease) => {
                children::tell(&number.to_string());
                let completion = store.complete(&lease, &answer(number), HOUR).await;
                assert_eq!(completion.unwrap(), Completion::Applied);
            }
            Claimed::InFlight {
                fence, remaining, ..
            } => {
                store.settled(&key, fence, remaining).await.unwrap();
            }
            claimed => break assert!(is_replay(&claimed, number), "{claimed:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_duplicates_in_two_processes_have_one_effect_each() {
    const THIS: &str = "processes::concurrent_duplicates_in_two_processes_have_one_effect_each";
    if let Some(file) = children::file(THIS) {
        return run(file).await;
    }
    let place = Place::new();
    let mut processes = [(); 2].map(|()| Process::start(THIS, &place.file()));
    for process in &mut processes {
        assert_eq!(process.next().as_deref(), Some("ready"));
    }
    for process in &mut processes {
        process.tell("go");
    }
    let effects = processes.map(Process::finish);
    let effects: Vec<_> = effects.iter().flatten().collect();
    let distinct: HashSet<_> = effects.iter().collect();
    assert_eq!(
        (effects.len(), distinct.len()),
        (KEYS as usize, KEYS as usize)
    );
}
