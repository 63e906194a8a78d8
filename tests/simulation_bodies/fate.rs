//! What happens to a call of the store on its way.

use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    Refused,
    LostRequest,
    LostReply,
    /// No reply, and no effect.
    Hang,
    /// No reply, but the effect.
    Silence,
    /// No reply; the effect comes when nobody waits any more.
    Late,
}

/// With the time that it takes there and back, in milliseconds.
#[derive(Debug)]
pub struct Fate {
    pub fault: Fault,
    pub there: u64,
    pub back: u64,
}

/// A call: by which node, for which key, of which verb, and the how manieth of these.
pub type Number = [u64; 4];

/// Trouble comes in spells of so many milliseconds.
const SPELL: u64 = 700;

impl Fate {
    pub fn of(world: &World, number: Number) -> Self {
        let [node, key, verb, count] = number;
        let mut chance = world.chance(&[2, node, key, verb, count]);
        let prompt = world.settings.prompt();
        if world.is_well() {
            let mut delay = || match chance.percent(50) {
                true => 0,
                false => chance.between(0, prompt),
            };
            return Self {
                fault: Fault::None,
                there: delay(),
                back: delay(),
            };
        }
        use Fault::{Hang, Late, LostReply, LostRequest, Refused, Silence};
        let faults = [Refused, LostRequest, LostReply, Hang, Silence, Late];
        let spell = world.now() / SPELL;
        let troubled = world.chance(&[3, node, spell]).between(0, 99);
        let limit = chance.one_of(&[0, prompt, 4 * prompt, 20 * prompt]);
        Self {
            fault: match chance.percent(troubled) {
                true => chance.one_of(&faults),
                false => Fault::None,
            },
            there: chance.between(0, limit),
            back: chance.between(0, limit),
        }
    }
}
