//! What may happen to a call on its way.

use super::chance::Chance;

/// How the wire of a node is. All chances in percent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    pub cut: bool,
    pub lose_request: u64,
    pub lose_reply: u64,
    pub refuse: u64,
    /// The store is full, or cannot read what stands there.
    pub full: u64,
    pub corrupt: u64,
    pub twice: u64,
    pub late: u64,
    /// How late that is at most.
    pub lateness: u64,
    /// Whether what is lost is noticed: the call fails, else it hangs.
    pub notices: u64,
}

/// What becomes of the reply.
#[derive(Debug, Clone, Copy)]
pub enum Back {
    After(u64),
    /// Nothing was done, and its caller is told so.
    Refused(u64),
    Full(u64),
    Corrupt(u64),
    Never,
    Unknown(u64),
}

/// What happens to one call. All times are in milliseconds from when it is sent.
#[derive(Debug)]
pub struct Fate {
    /// Nothing does that its caller would notice.
    pub fine: bool,
    /// When it arrives, if it does.
    pub there: Option<u64>,
    pub back: Back,
    /// It arrives late.
    pub stray: bool,
    /// When it arrives a second time.
    pub again: Option<u64>,
}

impl Weather {
    pub fn draw(chance: &mut Chance, lease: u64) -> Self {
        let mut often = || match chance.percent(40) {
            true => chance.between(5, 60),
            false => 0,
        };
        let [full, corrupt] = [often() / 4, often() / 8];
        Self {
            full,
            corrupt,
            lose_request: often(),
            lose_reply: often(),
            refuse: often(),
            twice: often(),
            late: often(),
            cut: chance.percent(35),
            lateness: chance.one_of(&[100, 1_000, 2 * lease]),
            notices: chance.one_of(&[0, 50, 100]),
        }
    }

    pub fn fate(&self, chance: &mut Chance) -> Fate {
        let (there, back) = (chance.between(1, 8), chance.between(1, 8));
        let again = chance.percent(self.twice).then(|| chance.time(1, 5_000));
        let (there, back) = (Some(there), Back::After(back));
        let bad = Fate {
            fine: false,
            there,
            back,
            stray: false,
            again,
        };
        if self.cut || chance.percent(self.lose_request) {
            let (there, again) = (None, None);
            return Fate {
                there,
                again,
                back: self.lose(chance),
                ..bad
            };
        }
        let refusals = [self.refuse, self.full, self.corrupt];
        let refused: [fn(u64) -> Back; 3] = [Back::Refused, Back::Full, Back::Corrupt];
        for (often, refused) in refusals.into_iter().zip(refused) {
            if chance.percent(often) {
                let (there, again) = (None, None);
                return Fate {
                    there,
                    again,
                    back: refused(chance.between(1, 8)),
                    ..bad
                };
            }
        }
        if chance.percent(self.lose_reply) {
            return Fate {
                back: self.lose(chance),
                ..bad
            };
        }
        if chance.percent(self.late) {
            let late = chance.time(20, self.lateness);
            return match chance.percent(50) {
                true => Fate {
                    there: Some(late),
                    stray: true,
                    ..bad
                },
                false => Fate {
                    back: Back::After(late),
                    ..bad
                },
            };
        }
        Fate { fine: true, ..bad }
    }

    fn lose(&self, chance: &mut Chance) -> Back {
        match chance.percent(self.notices) {
            true => Back::Unknown(chance.between(1, 20)),
            false => Back::Never,
        }
    }
}
