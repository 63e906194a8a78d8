//! Two processes, a thousand keys, and twenty who ask for each at once.

use std::collections::HashSet;

use futures_util::future::join_all;

use crate::{
    backend::Backend,
    lab::{Lab, request},
    outside::Connection,
};

const KEYS: usize = 1_000;
const DUPLICATES: usize = 20;
/// How many keys are asked for at the same time.
const GROUPS: usize = 4;

pub(crate) async fn one_effect_a_key<B: Backend>() {
    let server = B::start().await;
    let store = B::url(server.port());
    let settings = [("LAB_STORE", &*store), ("LAB_IN_FLIGHT", "wait:20000")];
    let labs = [Lab::start(&settings).await, Lab::start(&settings).await];
    join_all((0..GROUPS).map(|group| ask_for_each(&labs, group))).await;

    let effects = labs.iter().flat_map(Lab::effects);
    let keys: Vec<_> = effects.map(|effect| key(&effect)).collect();
    assert_eq!(keys.len(), KEYS);
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), KEYS);
}

/// Asks for every key of a group, each by as many at once, half of them at each lab; all
/// get the same answer.
async fn ask_for_each(labs: &[Lab; 2], group: usize) {
    let connections = (0..DUPLICATES).map(|number| labs[number % 2].connect());
    let mut connections = join_all(connections).await;
    for number in (group..KEYS).step_by(GROUPS) {
        let field = format!("idempotency-key: key-{number}\r\n");
        let request = request("POST", "/effect", &field, "pay");
        let asked = connections
            .iter_mut()
            .map(|connection| ask(connection, &request));
        let mut answers = join_all(asked).await;
        answers.dedup();
        assert_eq!(answers.len(), 1, "key {number}: {answers:?}");
    }
}

async fn ask(connection: &mut Connection, request: &str) -> (u16, Vec<u8>) {
    let answer = connection.ask(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (answer.status, answer.body)
}

/// The first word of a line `key attempt fence pid uuid`.
fn key(effect: &str) -> String {
    effect.split(' ').next().unwrap().to_owned()
}
