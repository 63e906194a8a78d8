//! A process that is killed in the middle of its work.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tower_idempotency::{
    SqliteStore, Store,
    store::{Claim, Claimed, Completion},
};

use crate::{
    children::{self, Process},
    file::{HOUR, Place, REQUEST, answer, is_replay, key},
};

const LEASE: Duration = Duration::from_millis(500);

/// Completes one key after the other, several at once, and tells of each once it is
/// acknowledged.
async fn run(file: String) {
    let store = SqliteStore::open(file).await.unwrap();
    let next = Arc::new(AtomicU32::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        tasks.spawn(work(store.clone(), Arc::clone(&next)));
    }
    tasks.join_all().await;
}

async fn work(store: SqliteStore, next: Arc<AtomicU32>) {
    loop {
        let number = next.fetch_add(1, Relaxed);
        let key = key(number);
        let claim = Claim::new(&key, REQUEST).lease_for(LEASE);
        if let Claimed::Acquired(lease) = store.claim(&claim).await.unwrap() {
            children::tell(&format!("claimed {number}"));
            let completion = store.complete(&lease, &answer(number), HOUR).await;
            assert_eq!(completion.unwrap(), Completion::Applied);
            children::tell(&format!("completed {number}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_acknowledged_is_there_and_no_key_is_wedged() {
    const THIS: &str = "deaths::what_a_killed_process_acknowledged_is_there_and_no_key_is_wedged";
    if let Some(file) = children::file(THIS) {
        return run(file).await;
    }
    let place = Place::new();
    for round in 0..4 {
        let mut process = Process::start(THIS, &place.file());
        let mut told = Vec::new();
        while told.len() < 100 + 150 * round {
            told.push(process.next().unwrap());
        }
        told.extend(process.kill());
        check(&place, &told).await;
    }
}

async fn check(place: &Place, told: &[String]) {
    let store = place.store().await;
    let numbers = |prefix| {
        let lines = told
            .iter()
            .filter_map(move |line| line.strip_prefix(prefix));
        lines.map(|number| number.parse::<u32>().unwrap())
    };
    assert!(numbers("completed ").count() > 10);
    for number in numbers("completed ") {
        assert!(is_replay(&claim(&store, number).await, number), "{number}");
    }
    place.pass(LEASE);
    let last = numbers("claimed ").max().unwrap() + 100;
    for number in 0..last {
        match claim(&store, number).await {
            Claimed::Acquired(lease) => drop(store.release(&lease).await.unwrap()),
            claimed => assert!(is_replay(&claimed, number), "{number}: {claimed:?}"),
        }
    }
}

async fn claim(store: &SqliteStore, number: u32) -> Claimed {
    let key = key(number);
    store.claim(&Claim::new(&key, REQUEST)).await.unwrap()
}
