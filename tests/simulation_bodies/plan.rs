//! What one client does.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};

use crate::{
    chance::Chance,
    keyed::{Carried, Source},
    settings::{MAX_REQUEST, Settings},
    steps::{Hint, Step, size},
    world::KEYS,
};

#[derive(Debug)]
pub struct Plan {
    pub client: usize,
    /// It waits for an answer of a handler that takes so long, in a world that is well.
    pub last: Option<u64>,
    pub node: usize,
    pub key: usize,
    pub payload: usize,
    pub source: Source,
    pub carried: Carried,
    pub trailers: Option<HeaderMap>,
    pub arrival: Arrival,
    pub body: Vec<Step>,
    pub hint: Hint,
    pub version: Version,
    pub begins: u64,
    pub leaves: Leaves,
    pub reads: Reads,
}

/// How its request arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Whole,
    TooLarge,
    Broken,
    Slow,
}

#[derive(Debug, Clone, Copy)]
pub enum Leaves {
    Never,
    AfterPolls(u64),
    After(u64),
}

#[derive(Debug, Clone, Copy)]
pub enum Reads {
    All,
    Slowly(u64),
    /// Drops the body after so many frames.
    Some(u64),
    /// Reads no more after so many frames, and holds it to the end.
    Stops(u64),
}

impl Plan {
    /// A patient client at the end of all, of a handler that takes so long.
    pub fn last(
        source: Source,
        client: usize,
        node: usize,
        key: usize,
        payload: usize,
        takes: u64,
    ) -> Self {
        let carried = source.plain(client);
        Self {
            client,
            last: Some(takes),
            node,
            key,
            payload,
            source,
            carried,
            trailers: None,
            arrival: Arrival::Whole,
            body: vec![Step::Data(source.payload(carried, key, payload))],
            hint: Hint::Unknown,
            version: Version::HTTP_11,
            begins: 0,
            leaves: Leaves::Never,
            reads: Reads::All,
        }
    }

    pub fn draw(chance: &mut Chance, settings: &Settings, client: usize) -> Self {
        let (node, key) = (chance.index(settings.nodes), chance.index(KEYS + 2) % KEYS);
        let payload = usize::from(chance.percent(17));
        let mut plan = Self::last(settings.source, client, node, key, payload, 0);
        plan.carried = settings.source.carried(chance, client);
        plan.last = None;
        plan.arrival = match chance.between(0, 39) {
            0 => Arrival::TooLarge,
            1 => Arrival::Broken,
            2 => Arrival::Slow,
            _ => Arrival::Whole,
        };
        if plan.carried == Carried::Nowhere && !settings.source.reads_bodies() {
            plan.arrival = Arrival::Whole;
        }
        plan.body = plan.arriving(chance, settings);
        if chance.percent(10) && plan.arrival == Arrival::Whole {
            let fields = [("x-t".parse().unwrap(), HeaderValue::from_static("t"))];
            let trailers = HeaderMap::from_iter(fields);
            plan.body.push(Step::Trailers(trailers.clone()));
            plan.trailers = Some(trailers);
        }
        if chance.percent(50) {
            plan.hint = Hint::Exact(size(&plan.body));
        }
        if chance.percent(10) {
            plan.version = Version::HTTP_10;
        }
        let spread = chance.one_of(&[0, 0, 100, 5000, 60_000]);
        plan.begins = chance.between(0, spread);
        plan.leaves = match chance.between(0, 9) {
            0..=2 => Leaves::AfterPolls(chance.between(0, 11)),
            3..=4 => Leaves::After(chance.time(0, 20_000)),
            _ => Leaves::Never,
        };
        plan.reads = match chance.between(0, 9) {
            0 => Reads::Some(chance.between(0, 3)),
            1 => Reads::Stops(chance.between(0, 3)),
            2..=3 => Reads::Slowly(chance.between(0, 3000)),
            _ => Reads::All,
        };
        plan
    }

    /// The frames of the request.
    fn arriving(&self, chance: &mut Chance, settings: &Settings) -> Vec<Step> {
        let (mut rest, mut steps) = (
            self.source.payload(self.carried, self.key, self.payload),
            Vec::new(),
        );
        while !rest.is_empty() {
            match chance.between(0, 5) {
                0 => steps.push(Step::Yield),
                1 => {
                    let most = chance.one_of(&[10, 200]);
                    steps.push(Step::Sleep(chance.between(0, most)));
                }
                2 => steps.push(Step::Data(Bytes::new())),
                _ => {
                    let some = 1 + chance.index(rest.len());
                    steps.push(Step::Data(rest.split_to(some)));
                }
            }
            if steps.len() > 8 {
                steps.push(Step::Data(std::mem::take(&mut rest)));
            }
        }
        let too_much = usize::try_from(MAX_REQUEST + 1).unwrap();
        match self.arrival {
            Arrival::Whole => {}
            Arrival::TooLarge => steps.push(Step::Data(Bytes::from(vec![b'x'; too_much]))),
            Arrival::Broken => steps.insert(chance.index(steps.len()), Step::Fail),
            Arrival::Slow => steps.push(Step::Sleep(settings.body_deadline * 2)),
        }
        steps
    }
}
