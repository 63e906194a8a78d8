//! Whether what clients were told is what is promised: it follows from what their node was told.

use super::{
    judge::Judge,
    knows::is_corrupt,
    ledger::{Answer, Asked, Granted, Outcome, Over},
    plan::Act,
    verb::Found,
};

impl Judge<'_> {
    pub fn answered(&mut self, number: usize, asked: &Asked) {
        let life = &self.ledger.lives[asked.life];
        let Some((at, answer)) = &asked.answer else {
            if asked.hung_up.is_none() && life.end.is_none() {
                self.say(format!("{}: q{number} is never answered", asked.start));
            }
            return;
        };
        let run = self.ledger.runs.iter().find(|run| run.request == number);
        let wrong = match run {
            Some(run) => self.own(run, asked, *at, answer),
            None => self
                .of_another(asked, *at, answer)
                .or_else(|| self.too_late(number, asked, *at, answer)),
        };
        if let Some(wrong) = wrong {
            let (code, body) = (answer.code.as_deref(), &answer.body);
            let (status, error) = (answer.status, answer.error.as_deref());
            let what = code.or(error).unwrap_or(body);
            self.say(format!("{at}: q{number}: {wrong}: {status} {what}"));
        }
    }

    /// It did not run: its answer follows from what its node was told meanwhile.
    fn of_another(&self, asked: &Asked, at: u64, answer: &Answer) -> Option<String> {
        let code = answer.code.as_deref();
        if code.is_none() && answer.error.is_none() {
            let replays = answer.replayed && answer.mark.is_none();
            let fits = replays && self.has_record(asked, at, Some(&answer.body));
            return (!fits).then(|| "no such record".to_owned());
        }
        let fits = match code {
            None => self.broke_off(asked, at, answer),
            Some("idempotency_conflict") => {
                self.was_told(asked, at, |found| *found == Found::Mismatch)
                    || self.leads(asked, at, |of| of != asked.variant)
                    || self.has_copy(asked, at, |of, _| of != asked.variant)
            }
            Some("idempotency_in_flight") => {
                self.was_told(asked, at, |found| *found == Found::InFlight)
                    || self.leads(asked, at, |of| of == asked.variant)
                    || self.waited_in_vain(asked, at)
            }
            Some("idempotency_result_unavailable") => self.has_record(asked, at, None),
            Some("idempotency_outcome_unknown") => {
                self.was_told(asked, at, |found| *found == Found::Unknown)
            }
            Some("idempotency_store_unavailable") => {
                let proceeds = asked.settings.proceeds;
                self.without_store(asked, at, |last| !proceeds || is_corrupt(last))
            }
            Some(_) => false,
        };
        if fits && code == Some("idempotency_in_flight") && self.is_hasty(asked, at) {
            return Some("did not wait".to_owned());
        }
        if let Some(seconds) = answer.retry_after.filter(|_| fits) {
            let most = asked
                .settings
                .lease
                .div_ceil(1000)
                .max(self.longest_lease(asked));
            let trouble = self.ledger.lives[asked.life].troubled(asked.start, at);
            let told = self.ledger.jumps.is_empty() && !self.is_operated_on(asked.key);
            let late = self.waits_elsewhere(asked, at, |of| of == asked.variant);
            let exact = code == Some("idempotency_in_flight") && !trouble && told && !late;
            let is_back = |(when, back): &(u64, bool)| *when <= at && *back;
            let most = match self.ledger.jumps.iter().any(is_back) {
                // A lease that stood is longer then.
                true => u64::MAX,
                false if exact => self.left(asked, at),
                false => most,
            };
            let fits = (1..=60.min(most)).contains(&seconds);
            return (!fits).then(|| format!("retry after {seconds} of {most}"));
        }
        (!fits).then(|| "its node knows nothing of that".to_owned())
    }

    /// How many seconds are left, at most, of what was in flight.
    fn left(&self, asked: &Asked, at: u64) -> u64 {
        let leases = self.ledger.leases.values();
        let stood = leases.filter(|lease| {
            // Its own node knows of it when it hears of it.
            let heard = || self.settled(lease.fence, at).map(|(heard, _)| heard);
            let over = match lease.life == asked.life {
                true => heard(),
                false => lease.over.as_ref().map(|(over, _)| *over),
            };
            let over = over.unwrap_or(u64::MAX);
            lease.key == asked.key && lease.at <= at && over.saturating_add(20) >= asked.start
        });
        let left = stood.map(|lease| lease.deadline.saturating_sub(asked.start));
        left.max().unwrap_or_default().div_ceil(1000).max(1)
    }

    fn longest_lease(&self, asked: &Asked) -> u64 {
        let leases = self.ledger.leases.values();
        let of_key = leases.filter(|lease| lease.key == asked.key);
        let longest = of_key.map(|lease| lease.duration).max();
        longest.unwrap_or_default().div_ceil(1000)
    }

    /// Whether it joined an answer that was not kept.
    fn broke_off(&self, asked: &Asked, at: u64, answer: &Answer) -> bool {
        let joined = answer.replayed
            && answer
                .error
                .as_deref()
                .is_some_and(|e| e.contains("broke off"));
        joined
            && self.ledger.runs.iter().any(|run| {
                let of = &self.ledger.requests[run.request];
                let same = (of.key, of.life, of.variant) == (asked.key, asked.life, asked.variant);
                let kept = matches!(run.end, Some((_, Outcome::Record)))
                    && self
                        .settled(run.fence, u64::MAX)
                        .is_some_and(|(_, found)| *found == Found::Done);
                same && run.live && run.start <= at && !kept && run.body.starts_with(&answer.body)
            })
    }

    /// Who does not run, and joins nobody, knows within the time it is given.
    fn too_late(&self, number: usize, asked: &Asked, at: u64, answer: &Answer) -> Option<String> {
        let (life, settings) = (&self.ledger.lives[asked.life], &asked.settings);
        let frozen = life.frozen_for(asked.start, at);
        let took = at - asked.start - frozen;
        let over = self.waits_until(number, asked);
        if frozen == 0 && over.is_some_and(|over| at > over + 5) {
            return Some("waited for longer than it would".to_owned());
        }
        let trouble = life.troubled(asked.start.saturating_sub(2_000), at);
        let layers = self.plan.nodes[life.node].layers;
        let claim = |settings: &super::settings::Settings| {
            u64::from(settings.attempts) * (settings.deadline + 200)
        };
        let claim = layers.iter().map(claim).max().unwrap_or_default();
        let joined = answer.replayed || answer.error.is_some();
        let bound = settings.wait.map_or(3 * claim, |wait| wait + 2 * claim) + 100;
        let at_once = !trouble && frozen == 0 && settings.wait.is_none();
        let bound = if at_once { 200 } else { bound };
        if self.slept_on(asked, at) && !trouble && frozen == 0 && answer.error.is_none() {
            return Some("slept on".to_owned());
        }
        (took > bound && !joined).then(|| format!("took {took} of {bound}"))
    }

    /// Whether it waits long after there was a record: who waits is woken, or looks again each
    /// second.
    fn slept_on(&self, asked: &Asked, at: u64) -> bool {
        let of_key = |lease: &&Granted| lease.key == asked.key;
        let mut leases = self.ledger.leases.values().filter(of_key);
        let slept = leases.any(|lease| match lease.over {
            Some((over, Over::Completed { until, .. })) => {
                let kept = lease.variant == asked.variant && until > at;
                kept && over > asked.start && at > over + 1_200
            }
            _ => false,
        });
        slept && !self.is_operated_on(asked.key) && self.ledger.jumps.is_empty()
    }

    /// Whether an operator forgets or resolves it: nobody is told.
    fn is_operated_on(&self, key: usize) -> bool {
        self.plan.acts.iter().any(|(_, act)| match act {
            Act::Forget { key: of } | Act::Resolve { key: of } => *of == key,
            _ => false,
        })
    }
}
