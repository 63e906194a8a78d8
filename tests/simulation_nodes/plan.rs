//! What is drawn from the seed before anything runs.

use super::{
    chance::Chance,
    settings::{Settings, Site},
    weather::Weather,
    wrappers::Wrappers,
};

#[derive(Debug, Clone, Copy)]
pub enum Act {
    Ask {
        node: usize,
        layer: usize,
        key: usize,
        variant: u64,
        hangs_up: Option<u64>,
        last: bool,
    },
    HangUp {
        request: usize,
    },
    Weather {
        node: usize,
        weather: Weather,
    },
    Freeze {
        node: usize,
        lasts: u64,
    },
    Thaw {
        node: usize,
    },
    Crash {
        node: usize,
        back: u64,
    },
    Start {
        node: usize,
    },
    Drain {
        node: usize,
        within: u64,
    },
    /// By an operator.
    Forget {
        key: usize,
    },
    Resolve {
        key: usize,
    },
    /// The clock of the store goes ahead, or is set back.
    Jump {
        by: u64,
        back: bool,
    },
    Heal,
}

#[derive(Debug)]
pub struct Plan {
    pub nodes: Vec<Site>,
    pub keys: usize,
    pub acts: Vec<(u64, Act)>,
    /// When all faults end.
    pub healed: u64,
    /// When the last requests come, and when nothing is under way any more.
    pub last: u64,
}

impl Plan {
    pub fn draw(seed: u64) -> Self {
        let mut chance = Chance::of(seed, &[1]);
        let nodes = usize::try_from(chance.between(2, 4)).unwrap();
        let keys = usize::try_from(chance.between(1, 3)).unwrap();
        let common = (Settings::draw(&mut chance), Wrappers::draw(&mut chance));
        let mixed = chance.percent(10);
        let settings: Vec<_> = (0..nodes)
            .map(|_| Site::draw(&mut chance, &common, mixed))
            .collect();
        let healed = chance.time(5_000, 60_000);
        let mut plan = Self {
            nodes: settings,
            keys,
            acts: Vec::new(),
            healed,
            last: 0,
        };
        plan.requests(&mut chance);
        if chance.percent(15) {
            plan.operator(&mut chance);
        }
        if chance.percent(8) {
            let (at, by) = (chance.between(1, healed), chance.time(1, 60_000));
            let back = chance.percent(40);
            plan.acts.push((at, Act::Jump { by, back }));
        }
        if chance.percent(92) {
            for node in 0..nodes {
                plan.faults(node, &mut chance);
            }
        }
        plan.acts.push((healed, Act::Heal));
        plan.last = healed + 200_000;
        plan.last_requests();
        plan.acts.sort_by_key(|(at, _)| *at);
        plan
    }

    fn requests(&mut self, chance: &mut Chance) {
        let mut at = 10;
        for _ in 0..chance.between(4, 30) {
            let lease = self.nodes[0].layers[0].lease;
            at += match chance.between(0, 99) {
                0..60 => chance.between(0, 30),
                // As the lease of one before lapses.
                60..65 if at > 10 => lease - 15 + chance.between(0, 30),
                _ => chance.time(10, self.healed / 4),
            };
            if at >= self.healed {
                break;
            }
            let act = Act::Ask {
                node: chance.index(self.nodes.len()),
                layer: chance.index(2),
                key: chance.index(self.keys),
                variant: u64::from(chance.percent(5)),
                hangs_up: chance.percent(20).then(|| chance.time(1, 4_000)),
                last: false,
            };
            self.acts.push((at, act));
        }
    }

    fn operator(&mut self, chance: &mut Chance) {
        for _ in 0..chance.between(1, 4) {
            let (at, key) = (chance.between(1, self.healed), chance.index(self.keys));
            let act = match chance.percent(30) {
                true => Act::Forget { key },
                false => Act::Resolve { key },
            };
            self.acts.push((at, act));
        }
    }

    fn faults(&mut self, node: usize, chance: &mut Chance) {
        let lease = self.nodes[node].layers[0].lease;
        for _ in 0..chance.between(0, 8) {
            // Mostly soon after a request.
            let (asked, _) = self.acts[chance.index(self.acts.len())];
            let at = match chance.percent(80) {
                true => asked + chance.time(0, lease.min(10_000)),
                false => chance.between(1, self.healed - 1),
            };
            let at = at.min(self.healed - 1);
            match chance.between(0, 9) {
                0..=5 => {
                    let weather = Weather::draw(chance, lease);
                    let ends = at + chance.time(20, 4 * lease.min(10_000));
                    self.acts.push((at, Act::Weather { node, weather }));
                    let weather = Weather::default();
                    self.acts
                        .push((ends.min(self.healed), Act::Weather { node, weather }));
                }
                6..=7 => {
                    let lasts = chance.time(50, 2 * lease.min(20_000));
                    self.acts.push((at, Act::Freeze { node, lasts }));
                }
                8 => self.acts.push((
                    at,
                    Act::Crash {
                        node,
                        back: chance.time(10, 10_000),
                    },
                )),
                _ => self.acts.push((
                    at,
                    Act::Drain {
                        node,
                        within: chance.time(100, 30_000),
                    },
                )),
            }
        }
    }

    fn last_requests(&mut self) {
        for node in 0..self.nodes.len() {
            for key in 0..self.keys {
                for variant in 0..2 {
                    let at = self.last + (node as u64) * 2_000 + 500 * variant;
                    let act = Act::Ask {
                        node,
                        layer: key % 2,
                        key,
                        variant,
                        hangs_up: None,
                        last: true,
                    };
                    self.acts.push((at, act));
                }
            }
        }
    }
}
