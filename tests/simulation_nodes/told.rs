//! Whether a node knows what it should, and nothing is lost without a word.

use super::{
    judge::Judge,
    ledger::{Call, Granted, Outcome, Over, Run},
    verb::{Found, Kind},
};

impl Judge<'_> {
    /// When a node was told, until then, how a lease of it ended; and that.
    pub fn settled(&self, fence: u64, until: u64) -> Option<(u64, &Found)> {
        let ends = self
            .of_fence(fence)
            .filter(|call| matches!(call.kind, Kind::Complete | Kind::Release));
        let mut heard = ends.filter_map(|call| call.heard.as_ref());
        let (at, found) = heard.find(|(at, found)| *at <= until && found.is_answer())?;
        Some((*at, found))
    }

    pub fn of_fence(&self, fence: u64) -> impl Iterator<Item = &Call> {
        let calls = self.ledger.calls.iter();
        calls.filter(move |call| call.fence == fence && fence > 0)
    }

    /// When its node was told that a lease is not its own any more.
    pub fn refused(&self, fence: u64) -> Option<u64> {
        let heard = self.of_fence(fence).filter_map(|call| call.heard.as_ref());
        let is_lost = |found: &Found| !matches!(found, Found::Done | Found::RolledBack);
        let mut refused = heard.filter(|(_, found)| found.is_answer() && is_lost(found));
        refused.next().map(|(at, _)| *at)
    }

    /// What it was told of the release of a lease.
    pub fn released(&self, fence: u64) -> Option<&(u64, Found)> {
        let releases = self
            .of_fence(fence)
            .filter(|call| call.kind == Kind::Release);
        let mut heard = releases.filter_map(|call| call.heard.as_ref());
        heard.find(|(_, found)| found.is_answer())
    }

    fn told(&self, life: usize, key: usize, name: &str) -> usize {
        let events = self.ledger.events.iter();
        let same = events.filter(|told| (told.life, told.key, told.name) == (life, key, name));
        same.count()
    }

    fn told_of(&self, fence: u64, name: &str) -> usize {
        let events = self.ledger.events.iter();
        events
            .filter(|told| told.fence == fence && told.name == name)
            .count()
    }

    /// What became of an operation is told.
    pub fn nothing_is_lost(&mut self, run: &Run, lease: &Granted) {
        let dead = self.ledger.lives[run.life].end.is_some();
        let (life, key, fence) = (run.life, run.key, run.fence);
        if self.told_of(fence, "claimed") != 1 || self.told_of(fence, "lease_lost") > 1 {
            self.say(format!("{}: f{fence} is not told once", run.start));
        }
        let Some((end, outcome)) = run.end else {
            // With its runtime, and not with its client.
            if !dead || self.told(life, key, "abandoned") == 0 {
                self.say(format!("{}: f{fence} was cut short", run.start));
            }
            return;
        };
        if outcome != Outcome::Release && self.gives_up_early(run, lease, end) {
            self.say(format!("{end}: f{fence} could still be recorded"));
        }
        let found = self.settled(fence, u64::MAX).map(|(_, found)| found);
        let found = match found {
            Some(Found::RolledBack) => {
                let released = self.released(fence).map(|(_, found)| found);
                (released, Outcome::Release)
            }
            found => (found, outcome),
        };
        let name = match found {
            (Some(Found::Done), Outcome::Record) => "recorded",
            (Some(Found::Done), Outcome::Seal) => "sealed",
            (Some(Found::Done), Outcome::Release) => "released",
            (Some(_), _) => {
                if self.told_of(fence, "lease_lost") == 0 {
                    self.say(format!("{end}: f{fence} was lost, and nobody is told"));
                }
                return;
            }
            (None, Outcome::Release) => {
                if lease.hold && lease.retention > self.plan.last && !dead && !self.corrupt(fence) {
                    self.say(format!("{end}: f{fence} is never released"));
                }
                "abandoned"
            }
            (None, _) => run.is_told_unsettled(),
        };
        let cut_short = dead && self.told(life, key, "abandoned") > 0;
        if self.told(life, key, name) == 0 && !cut_short {
            self.say(format!("{end}: f{fence} is not told to be {name}"));
        }
    }

    /// Whether its node was told by then that its transaction was rolled back.
    fn is_rolled_back(&self, fence: u64, at: u64) -> bool {
        matches!(self.settled(fence, at), Some((_, Found::RolledBack)))
    }

    pub fn corrupt(&self, fence: u64) -> bool {
        self.of_fence(fence)
            .any(|call| matches!(call.heard, Some((_, Found::Corrupt))))
    }

    /// A lease under which nothing ran is given back, or told to be left.
    pub fn is_given_back(&mut self, lease: &Granted) {
        let calls = self.ledger.calls.iter();
        let of_lease = || calls.clone().filter(|call| call.token == Some(lease.token));
        // Its client was answered without it, so its node knows that it may stand.
        let answered = |request: usize| self.ledger.requests[request].answer.is_some();
        let in_doubt = of_lease().any(|call| call.request.is_some_and(answered));
        let dead = self.ledger.lives[lease.life].end.is_some();
        if lease.stray || (dead && !in_doubt) {
            return;
        }
        let heard = of_lease().filter_map(|call| call.heard.as_ref());
        let heard = heard.filter(|(_, found)| found.is_answer()).count() > 0;
        let insists = !dead && lease.hold && lease.attempt == 1;
        let stands = lease.over.is_none();
        let last = of_lease().next_back().and_then(|call| call.heard.as_ref());
        let readable = !matches!(last, Some((_, Found::Corrupt)));
        let long = stands && insists && readable && lease.retention > self.plan.last;
        let told = self.told(lease.life, lease.key, "abandoned") > 0;
        // A copy may have told its node that the lease is over.
        let site = &self.plan.nodes[self.ledger.lives[lease.life].node];
        let heard = heard || site.wrappers.cached;
        let known = told || (heard && !stands);
        if long || !known {
            self.say(format!(
                "{}: f{} stands, and nothing ran",
                lease.at, lease.fence
            ));
        }
    }

    /// As many events as there are reasons for them.
    pub fn events(&mut self) {
        for life in 0..self.ledger.lives.len() {
            for key in 0..self.plan.keys {
                self.counts(life, key);
            }
        }
    }

    fn counts(&mut self, life: usize, key: usize) {
        let done = |kind| {
            let of = self
                .ledger
                .calls
                .iter()
                .filter(move |call| (call.life, call.key, call.kind) == (life, key, kind));
            let done = of.filter(|call| matches!(call.heard, Some((_, Found::Done))));
            done.count()
        };
        let told = |name| self.told(life, key, name);
        let runs = || {
            self.ledger
                .runs
                .iter()
                .filter(move |run| (run.life, run.key) == (life, key))
        };
        let unprotected = runs().filter(|run| run.fence == 0).count();
        let lost = runs().filter(|run| {
            let keeps = matches!(run.end, Some((_, Outcome::Record | Outcome::Seal)));
            keeps && run.fence > 0 && !run.attaches && self.settled(run.fence, u64::MAX).is_none()
        });
        let lost = lost.count();
        let replayed = self.ledger.requests.iter().filter(|asked| {
            let replayed = asked
                .answer
                .as_ref()
                .is_some_and(|(_, answer)| answer.replayed);
            (asked.life, asked.key) == (life, key) && replayed
        });
        let dead = self.ledger.lives[life].end.is_some();
        let wrong = [
            (
                told("recorded") + told("sealed") != done(Kind::Complete),
                "recorded",
            ),
            (told("released") != done(Kind::Release), "released"),
            (told("unprotected") != unprotected, "unprotected"),
            (
                told("unrecorded") > lost || (told("unrecorded") < lost && !dead),
                "unrecorded",
            ),
            (told("replayed") < replayed.count(), "replayed"),
        ];
        for (wrong, name) in wrong {
            if wrong {
                self.say(format!(
                    "life {life}, k{key}: told {} times to be {name}",
                    self.told(life, key, name)
                ));
            }
        }
    }

    /// What ended a lease in the store is what its handler decided.
    pub fn ends_as_decided(&mut self, lease: &Granted, run: Option<&Run>) {
        let fence = lease.fence;
        match (&lease.over, run) {
            (Some((at, Over::Released)), Some(run)) => match run.end {
                Some((end, Outcome::Release)) if end <= *at => {}
                Some(_) if self.is_rolled_back(fence, *at) => {}
                end => self.say(format!("{at}: f{fence} released, and it {end:?}")),
            },
            (Some((at, Over::Completed { body, until })), Some(run)) => {
                let right = match run.end {
                    Some((end, Outcome::Record)) => end <= *at && body.as_ref() == Some(&run.body),
                    Some((end, Outcome::Seal)) => end <= *at && body.is_none(),
                    _ => false,
                };
                if !right || until - at != run.keeps {
                    self.say(format!(
                        "{at}: f{fence} recorded {body:?} until {until} of {run:?}"
                    ));
                }
            }
            (Some((at, Over::Completed { .. })), None) => {
                self.say(format!("{at}: f{fence} recorded, and never ran"));
            }
            // The next one may only run beside it if this one lapsed.
            (Some((at, Over::Taken | Over::Gone)), _) if lease.lapses.iter().all(|l| l > at) => {
                self.say(format!("{at}: f{fence} ended without a lapse"));
            }
            // A release would forget what was attempted.
            (Some((at, Over::Released)), None) if lease.attempt > 1 => {
                self.say(format!("{at}: f{fence} is an attempt that was forgotten"));
            }
            (Some((_, Over::Released)), None) | (_, Some(_)) => {}
            (_, None) => self.is_given_back(lease),
        }
    }
}
