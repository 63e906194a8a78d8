//! Whatever is done to a store, in whatever order: a [`store::Slot`](crate::store::Slot) for
//! each key says what must come of it. Most of the keys have one hash.

mod checks;
mod step;
mod world;

use proptest::{collection::vec, prelude::*};
use tokio::runtime::Builder;

use self::{step::step, world::World};
use super::*;

const KEYS: usize = 8;

/// Without a secret, a product of zero and something: all keys but the last have one hash.
fn key(number: usize) -> RecordKey {
    let mut digest = [0; 32];
    digest[0] = u8::try_from(number).unwrap();
    let last = u8::from(number == KEYS - 1);
    (digest[16], digest[31]) = (last, last);
    RecordKey::from_bytes(digest)
}

fn table(room: Room) -> Table {
    Table::with_secret([0; 16], 2, room)
}

#[tokio::test]
async fn keys_that_meet_are_told_apart() {
    let table = table(Room::new());
    let hash = |number| table.place(&key(number)).hash;
    assert!((0..KEYS - 1).all(|number| hash(number) == hash(0)));
    assert_ne!(hash(KEYS - 1), hash(0));
}

fn room() -> impl Strategy<Value = (usize, u64, bool)> {
    let entries = prop_oneof![1 => 1..5_usize, 1 => Just(1000)];
    let bytes = prop_oneof![1 => 500..3000_u64, 1 => Just(1 << 30)];
    (entries, bytes, any::<bool>())
}

proptest! {
    #[test]
    fn whatever_happens_each_key_is_as_its_slot_says(
        room in room(),
        steps in vec(step(), 0..80),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut world = World::new(room);
            for step in steps {
                world.take(step).await;
            }
            world.end().await;
        });
    }
}
