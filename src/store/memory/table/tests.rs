use super::*;
use crate::{fingerprint::Fingerprint, store::StoreErrorKind};
use tokio::time::advance;

const REQUEST: Fingerprint = Fingerprint::custom([1; 32]);

fn table() -> Table {
    Table::new(2, Room::new())
}

fn key(number: u32) -> RecordKey {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_ne_bytes());
    RecordKey::from_bytes(key)
}

fn acquire(table: &Table, claim: &Claim<'_>) -> Lease {
    match table.claim(claim).unwrap() {
        Claimed::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn every_key_goes_whatever_became_of_it() {
    let table = table();
    for number in 0..20_000 {
        let key = key(number);
        let claim = Claim::new(&key, REQUEST).retained_for(seconds(5));
        let lease = acquire(&table, &claim.lease_for(seconds(1)));
        match number % 4 {
            0 => drop(table.release(&lease)),
            1 => drop(table.complete(&lease, &Record::sealed(REQUEST), seconds(3))),
            2 => drop(table.renew(&lease)),
            _ => {}
        }
        advance(Duration::from_millis(u64::from(number % 2))).await;
    }
    advance(seconds(10)).await;
    table.sweep();
    assert_eq!((table.room.entries(), table.room.bytes()), (0, 0));
    assert_eq!((table.map.len(), table.looks()), (0, 0));
}

/// However often its shard has grown.
#[test]
fn a_key_stands_where_the_map_and_a_look_expect_it() {
    let table = table();
    let keys = || (0..5000).map(key);
    for key in keys() {
        acquire(&table, &Claim::new(&key, REQUEST));
    }
    for key in keys() {
        assert!(table.map.contains_key(&key));
        let place = table.place(&key);
        let hash = Hash::half(place.hash).whole();
        assert!(table.lock(place.shard).find(hash, &key).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn released_keys_do_not_pile_up() {
    let table = table();
    let key = key(1);
    for _ in 0..3600 {
        let lease = acquire(&table, &Claim::new(&key, REQUEST));
        table.release(&lease);
        advance(seconds(1)).await;
    }
    // The default lease lasts 30 s.
    assert!(table.looks() <= 32, "{} looks", table.looks());
}

/// However long their leases were.
#[tokio::test(start_paused = true)]
async fn keys_released_or_forgotten_at_once_leave_nothing() {
    let table = table();
    for number in 0..1000 {
        let key = key(number);
        let claim = Claim::new(&key, REQUEST).lease_for(seconds(86_400));
        let lease = acquire(&table, &claim);
        if number % 2 == 0 {
            table.release(&lease);
        } else {
            table.forget(&key);
        }
        advance(Duration::from_millis(10)).await;
    }
    assert_eq!(table.looks(), 0);
}

/// Also beside a key that is held.
#[tokio::test(start_paused = true)]
async fn looks_at_leases_that_ended_do_not_pile_up() {
    let table = table();
    for number in 0..1000 {
        let key = key(number);
        let claim = Claim::new(&key, REQUEST).lease_for(seconds(86_400));
        let lease = acquire(&table, &claim);
        if number >= 10 {
            table.release(&lease);
            // Ten that are held, as many again, and what each of the two shards may leave; it
            // sorts with one more. While it finds four that are held, another is added.
            let looks = table.looks();
            assert!(looks <= 20 + 2 * (16 + 1) + 10 / 4, "{looks} looks");
        }
    }
    advance(seconds(86_401)).await;
    table.sweep();
    assert_eq!(table.looks(), 10);
}

/// Sorting them all out at once would hold up whoever needs the lock.
#[test]
fn a_lease_that_ends_has_few_looks_sorted_out() {
    let table = table();
    let keys: Vec<_> = (0..10_000).map(key).collect();
    let claims = keys.iter().map(|key| Claim::new(key, REQUEST));
    let leases: Vec<_> = claims.map(|claim| acquire(&table, &claim)).collect();
    let (last, others) = leases.split_last().unwrap();
    let mut before = table.looks();
    for lease in others {
        table.release(lease);
        let after = table.looks();
        // The last lease of a shard leaves nothing at all, which takes no sorting.
        let is_emptied = after < 64;
        assert!(is_emptied || before - after <= 4, "{before} looks, {after}");
        before = after;
    }
    table.release(last);
    assert_eq!(table.looks(), 0);
}

#[tokio::test(start_paused = true)]
async fn leases_lapse_too_while_looks_are_sorted_out() {
    let table = table();
    let mut leases = Vec::new();
    for number in 0..1000 {
        let key = key(number);
        let claim = Claim::new(&key, REQUEST).lease_for(seconds(60 + u64::from(number)));
        leases.push(acquire(&table, &claim.retained_for(seconds(60))));
    }
    // Those that end are the first to be sorted out, so that it has only just begun when
    // none of them is left.
    for lease in leases {
        let before = table.looks();
        table.release(&lease);
        if table.looks() < before {
            break;
        }
    }
    advance(seconds(10_000)).await;
    for number in 1000..2000 {
        acquire(&table, &Claim::new(&key(number), REQUEST));
    }
    assert_eq!(table.room.entries(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_lives_on_has_one_look() {
    let table = table();
    let key = key(1);
    let claim = Claim::new(&key, REQUEST).lease_for(seconds(3));
    let mut lease = acquire(&table, &claim);
    for round in 0..100 {
        if round % 10 == 0 {
            advance(seconds(4)).await;
            lease = acquire(&table, &Claim::new(&key, REQUEST).lease_for(seconds(3)));
        }
        table.renew(&lease);
        advance(seconds(2)).await;
        table.sweep();
    }
    assert_eq!(table.looks(), 1);
    assert_eq!(table.room.entries(), 1);
}

#[tokio::test(start_paused = true)]
async fn claims_clear_away_what_is_gone() {
    let table = table();
    for number in 0..100_u32 {
        let key = key(number);
        let lease = acquire(&table, &Claim::new(&key, REQUEST));
        table.complete(&lease, &Record::sealed(REQUEST), seconds(1));
    }
    advance(seconds(60)).await;
    // Enough that every shard gets its share.
    for number in 100..1100 {
        acquire(&table, &Claim::new(&key(number), REQUEST));
    }
    assert_eq!(table.room.entries(), 1000);
}

#[test]
fn threads_that_race_for_a_key_have_one_winner() {
    let (table, threads) = (table(), 8);
    let barrier = std::sync::Barrier::new(threads);
    let wins = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for number in 0..500 {
                    barrier.wait();
                    let claimed = table.claim(&Claim::new(&key(number), REQUEST));
                    let is_won = matches!(claimed, Ok(Claimed::Acquired(_)));
                    wins.fetch_add(is_won.into(), Relaxed);
                }
            });
        }
    });
    assert_eq!(wins.into_inner(), 500);
    assert_eq!(table.room.entries(), 500);
}

#[test]
fn threads_that_race_for_room_stay_within_the_bound() {
    let table = table();
    table.room.max_entries.store(100, Relaxed);
    let won = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (table, won) = (&table, &won);
            scope.spawn(move || {
                for number in 0..200 {
                    let key = key(thread * 1000 + number);
                    let is_won = table.claim(&Claim::new(&key, REQUEST)).is_ok();
                    won.fetch_add(is_won.into(), Relaxed);
                }
            });
        }
    });
    assert_eq!(won.into_inner(), 100);
    assert_eq!((table.room.entries(), table.map.len()), (100, 100));
}

#[test]
fn sweeping_races_with_every_verb() {
    let table = table();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..2000 {
                    let key = key(number % 50);
                    let claim = Claim::new(&key, REQUEST).lease_for(Duration::ZERO);
                    if let Ok(Claimed::Acquired(lease)) = table.claim(&claim) {
                        match number % 3 {
                            0 => drop(table.release(&lease)),
                            1 => {
                                let record = Record::sealed(REQUEST);
                                table.complete(&lease, &record, Duration::ZERO);
                            }
                            _ => drop(table.forget(&key)),
                        }
                    }
                    table.sweep();
                }
            });
        }
    });
    assert_eq!(table.room.entries(), table.map.len());
}

/// One that evicts.
fn small_table(max_entries: usize) -> Table {
    let table = table();
    table.room.max_entries.store(max_entries, Relaxed);
    table.room.evict_completed.store(true, Relaxed);
    table
}

fn complete(table: &Table, key: &RecordKey, retention: Duration) {
    let lease = acquire(table, &Claim::new(key, REQUEST));
    let completion = table.complete(&lease, &Record::sealed(REQUEST), retention);
    assert_eq!(completion, Completion::Applied);
}

/// And not the first of a shard that had an earlier one.
#[tokio::test(start_paused = true)]
async fn what_expires_first_is_evicted_also_when_some_was_cleared_away() {
    let table = small_table(3);
    let mut keys: [Vec<_>; 2] = Default::default();
    for key in (0..100).map(key) {
        keys[table.place(&key).shard].push(key);
    }
    let [[early, late, ..], [first, next, ..]] = keys.each_ref().map(Vec::as_slice) else {
        panic!("all in one shard");
    };
    complete(&table, early, seconds(5));
    complete(&table, late, seconds(3 * 3600));
    complete(&table, first, seconds(3600));
    advance(seconds(7)).await;
    assert_eq!(table.sweep(), 1);
    table.room.max_entries.store(2, Relaxed);
    acquire(&table, &Claim::new(next, REQUEST));
    assert!(table.map.contains_key(late));
    assert!(!table.map.contains_key(first));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_evicted_while_something_is_gone() {
    let table = small_table(2);
    complete(&table, &key(1), seconds(3600));
    acquire(
        &table,
        &Claim::new(&key(2), REQUEST).retained_for(seconds(5)),
    );
    advance(seconds(60)).await;
    acquire(&table, &Claim::new(&key(3), REQUEST));
    assert!(table.map.contains_key(&key(1)));
    assert!(!table.map.contains_key(&key(2)));
}

/// Who claims would wait for it.
#[tokio::test]
async fn a_claim_evicts_no_thousands() {
    let table = small_table(10_000);
    for number in 0..3_000 {
        complete(&table, &key(number), seconds(3600));
    }
    table.room.max_bytes.store(1, Relaxed);
    let over = key(3_000);
    for claim in 1..=2 {
        let refused = table.claim(&Claim::new(&over, REQUEST)).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Full);
        assert_eq!(table.room.entries(), 3_000 - 1_024 * claim);
    }
    acquire(&table, &Claim::new(&over, REQUEST));
}

/// A flood of claims would lock every shard for each of them.
#[tokio::test(start_paused = true)]
async fn a_full_store_looks_for_what_is_gone_once_a_second() {
    let table = table();
    table.room.max_entries.store(1, Relaxed);
    let keys = [1, 2, 3].map(key);
    let claims = [0, 1, 2].map(|i| Claim::new(&keys[i], REQUEST).retained_for(seconds(5)));
    acquire(&table, &claims[0]);
    advance(seconds(60)).await;
    table.cleared.set(Some(table.now().second()));
    assert!(table.claim(&claims[1]).is_err());
    advance(seconds(1)).await;
    acquire(&table, &claims[1]);
    assert!(table.claim(&claims[2]).is_err());
    assert_eq!(table.cleared.get(), Some(table.now().second()));
}
