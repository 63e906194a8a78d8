//! What a node knew of a key while a request was there.

use super::{
    judge::Judge,
    ledger::{Asked, Call, Outcome, Over, Run},
    verb::{Found, Kind},
};

impl Judge<'_> {
    fn calls<'a>(&'a self, asked: &'a Asked, kind: Kind) -> impl Iterator<Item = &'a Call> {
        let ours = |call: &&Call| (call.life, call.key) == (asked.life, asked.key);
        self.ledger
            .calls
            .iter()
            .filter(ours)
            .filter(move |call| call.kind == kind)
    }

    /// Whether its node was told that by a claim for the same operation, while it waited.
    pub fn was_told(&self, asked: &Asked, at: u64, what: impl Fn(&Found) -> bool) -> bool {
        self.calls(asked, Kind::Claim).any(|call| {
            let told = call
                .heard
                .as_ref()
                .is_some_and(|(heard, found)| (asked.start..=at).contains(heard) && what(found));
            told && call.variant == asked.variant
        })
    }

    /// Whether its node knows this record, or a seal.
    pub fn has_record(&self, asked: &Asked, at: u64, body: Option<&String>) -> bool {
        let same = |found: &Found| matches!(found, Found::Record(kept) if kept.as_ref() == body);
        let same_record =
            |variant: u64, kept: Option<&String>| variant == asked.variant && kept == body;
        self.was_told(asked, at, same) || self.has_copy(asked, at, same_record)
    }

    /// Whether its node made such a record while it waited; or had one before, if it keeps copies.
    pub fn has_copy(
        &self,
        asked: &Asked,
        at: u64,
        fits: impl Fn(u64, Option<&String>) -> bool,
    ) -> bool {
        let site = &self.plan.nodes[self.ledger.lives[asked.life].node];
        let since = match site.wrappers.cached {
            true => 0,
            false => asked.start,
        };
        let made = self.ledger.leases.values().any(|lease| {
            let Some((_, Over::Completed { body, until })) = &lease.over else {
                return false;
            };
            let ours = (lease.key, lease.life) == (asked.key, asked.life);
            let heard = self
                .settled(lease.fence, at)
                .filter(|_| ours && *until > asked.start);
            heard.is_some_and(|(heard, found)| *found == Found::Done && heard >= since)
                && fits(lease.variant, body.as_ref())
        });
        made || self
            .calls(asked, Kind::Claim)
            .any(|call| match &call.heard {
                Some((heard, Found::Record(body))) => {
                    (since..=at).contains(heard) && fits(call.variant, body.as_ref())
                }
                _ => false,
            })
    }

    /// Whether another request was at it on its node, as far as that knows.
    pub fn leads(&self, asked: &Asked, at: u64, variant: impl Fn(u64) -> bool) -> bool {
        let of_key = |run: &&Run| (run.key, run.life) == (asked.key, asked.life);
        let mut runs = self
            .ledger
            .runs
            .iter()
            .filter(of_key)
            .filter(|run| run.fence > 0);
        let runs = runs.any(|run| {
            let of = self.ledger.requests[run.request].variant;
            run.start <= at && self.led_until(run) >= asked.start && variant(of)
        });
        runs || self.waits_elsewhere(asked, at, variant)
    }

    /// Whether a request waited on its node for another node: it goes by what that told it before.
    pub fn waits_elsewhere(&self, asked: &Asked, at: u64, variant: impl Fn(u64) -> bool) -> bool {
        let mut others = self
            .active(asked, at)
            .filter(|other| other.settings.wait.is_some() && variant(other.variant));
        others.any(|other| {
            self.calls(asked, Kind::Claim).any(|call| {
                let heard = call.heard.as_ref();
                let found = heard.filter(|(heard, _)| (other.start..=at).contains(heard));
                call.variant == other.variant
                    && found.is_some_and(|(_, found)| *found == Found::InFlight)
            })
        })
    }

    /// Until when a run led those with its key.
    fn led_until(&self, run: &Run) -> u64 {
        let settings = &self.ledger.requests[run.request].settings;
        let settled = self.settled(run.fence, u64::MAX);
        let (end, outcome) = match (settled, run.end) {
            (Some((heard, Found::RolledBack)), _) => match self.released(run.fence) {
                Some((heard, _)) => return *heard,
                None => (heard, Outcome::Release),
            },
            (Some((heard, _)), _) => return heard,
            (None, Some(end)) => end,
            (None, None) => return u64::MAX,
        };
        if outcome != Outcome::Release {
            // Nobody waits for it any more when it is told that it could not be recorded.
            let told = self.ledger.events.iter().filter(|told| {
                let name = run.is_told_unsettled();
                (told.life, told.key, told.name) == (run.life, run.key, name) && told.at >= end
            });
            // Another may be told to be abandoned meanwhile.
            let mut told = told.map(|told| told.at);
            let at = if run.attaches {
                told.next_back()
            } else {
                told.next()
            };
            return at.unwrap_or(u64::MAX);
        }
        let of_run = |call: &&Call| call.fence == run.fence && call.kind == Kind::Release;
        let last = self.ledger.calls.iter().rfind(of_run);
        let frozen = self.ledger.lives[run.life].frozen_for(end, u64::MAX);
        last.map_or(end, |last| last.sent) + settings.deadline + 1_000 + frozen
    }

    /// Whether it was refused before its time was over, though there was room for it to wait.
    pub fn is_hasty(&self, asked: &Asked, at: u64) -> bool {
        let there = self.ledger.requests.iter().filter(|other| {
            let answered = other.answer.as_ref().map(|(at, _)| *at);
            // Who claims when its client leaves keeps its place until that is answered.
            let left = other.hung_up.map(|at| at + 10_000);
            let until = answered.or(left).unwrap_or(u64::MAX);
            other.life == asked.life && other.start <= at && until >= asked.start
        });
        let waiting = there.clone().filter(|other| other.settings.wait.is_some());
        let of_key = there.filter(|other| other.key == asked.key).count();
        // Itself is among them; and of its key, who leads.
        let [on_node, for_key] = asked.settings.crowd;
        let has_room = waiting.count() <= on_node && of_key <= for_key;
        let over = asked.settings.wait.map(|wait| asked.start + wait);
        over.is_some_and(|over| has_room && at < over)
    }

    /// Whether its time was over before the store had answered its claim, or that of the one it
    /// followed.
    pub fn waited_in_vain(&self, asked: &Asked, at: u64) -> bool {
        let is_over = |other: &&Asked| {
            let over = other.settings.wait.map(|wait| other.start + wait);
            other.variant == asked.variant && over.is_some_and(|over| over <= at)
        };
        let claims = || {
            let claims = self.calls(asked, Kind::Claim);
            claims.filter(|claim| claim.sent <= at)
        };
        self.active(asked, at).filter(is_over).any(|other| {
            let unheard =
                |(heard, found): &(u64, Found)| *heard >= other.start && !found.is_answer();
            // An open breaker keeps a wrapper from asking.
            self.is_resilient(other.life)
                || claims().any(|claim| claim.heard.as_ref().is_none_or(unheard))
        })
    }

    /// The requests with its key that were on its node, too, itself included.
    fn active<'a>(&'a self, asked: &'a Asked, at: u64) -> impl Iterator<Item = &'a Asked> {
        self.ledger.requests.iter().filter(move |other| {
            let until = other.answer.as_ref().map_or(u64::MAX, |(at, _)| *at);
            (other.key, other.life) == (asked.key, asked.life)
                && other.start <= at
                && until >= asked.start
        })
    }

    /// Whether a claim failed for as often as it may, the last time like that.
    pub fn without_store(&self, asked: &Asked, at: u64, fits: impl Fn(&Call) -> bool) -> bool {
        let life = &self.ledger.lives[asked.life];
        let site = &self.plan.nodes[life.node];
        if site.wrappers.resilient {
            return true;
        }
        // Whom it followed may have had other settings.
        let attempts = site.layers.iter().map(|layer| layer.attempts).min();
        let deadline = site.layers.iter().map(|layer| layer.deadline).max();
        let (attempts, deadline) = (attempts.unwrap_or_default(), deadline.unwrap_or_default());
        let frozen = life.frozen_for(0, at);
        let claims = || self.calls(asked, Kind::Claim);
        let ends = |call: &Call| match &call.heard {
            Some((heard, found)) => (!found.is_answer()).then_some(*heard),
            None => Some(call.sent + deadline + frozen),
        };
        claims().any(|last| {
            let of_token = || claims().filter(|call| call.token == last.token);
            let before = || of_token().filter(|call| call.sent <= last.sent);
            let enough = before().count() >= attempts as usize
                || matches!(last.heard, Some((_, Found::Full | Found::Corrupt)));
            let ended = ends(last).is_some_and(|end| end + 5 >= asked.start);
            let failed = before().all(|call| ends(call).is_some());
            failed && enough && ended && last.sent <= at && fits(last)
        })
    }
}

/// The store could not read what stands there.
pub fn is_corrupt(call: &Call) -> bool {
    matches!(call.heard, Some((_, Found::Corrupt)))
}
