//! Whether what clients were told is what is promised.

use super::{
    judge::Judge,
    ledger::{Answer, Asked, Granted, Outcome, Over, Run},
};

impl Judge<'_> {
    pub fn answered(&mut self, number: usize, asked: &Asked) {
        let life = &self.ledger.lives[asked.life];
        let Some((at, answer)) = &asked.answer else {
            if !asked.hung_up && life.end.is_none() {
                self.say(format!("{}: q{number} is never answered", asked.start));
            }
            return;
        };
        if let Some(wrong) = self.misanswered(number, asked, *at, answer) {
            self.say(format!("{at}: q{number}: {wrong}: {answer:?}"));
        }
    }

    fn misanswered(
        &self,
        number: usize,
        asked: &Asked,
        at: u64,
        answer: &Answer,
    ) -> Option<String> {
        let life = &self.ledger.lives[asked.life];
        let settings = &self.plan.nodes[life.node];
        let run = self.ledger.runs.iter().find(|run| run.request == number);
        let trouble = life.troubled(asked.start.saturating_sub(2_000), at);
        // Who follows a request that came before may be told what that one found.
        let since = match life.was_frozen(asked.start, at) {
            true => 0,
            false => asked.start - if trouble { asked.start.min(2_000) } else { 0 },
        };
        let of_key = || {
            self.ledger
                .leases
                .values()
                .filter(|lease| lease.key == asked.key)
        };
        let stood = |lease: &&Granted| {
            let over = lease
                .over
                .as_ref()
                .map_or(u64::MAX, |(over, how)| match how {
                    Over::Completed { until, .. } => *until,
                    _ => *over,
                });
            lease.at <= at && over >= since
        };
        if run.is_none() {
            let claim = u64::from(settings.attempts) * (settings.deadline + 200);
            let bound = settings.wait.unwrap_or(0) + 3 * claim + 100;
            let took = at - asked.start - life.frozen_for(asked.start, at);
            let joined = answer.replayed || answer.error.is_some();
            if took > bound && !joined {
                return Some(format!("took {took} of {bound}"));
            }
            let frozen = life.was_frozen(asked.start, at);
            if !trouble && !frozen && !joined && settings.wait.is_none() && took > 200 {
                return Some(format!("was not refused at once, but after {took}"));
            }
        }
        if answer.error.is_some() {
            let broke = answer.error.as_deref() == Some("as planned");
            let lapsed = of_key().any(|lease| !lease.lapses.is_empty());
            let fits = broke || lapsed || trouble || answer.replayed;
            return (!fits).then(|| "an error".to_owned());
        }
        if answer.replayed {
            let right = of_key().filter(stood).any(|lease| match &lease.over {
                Some((
                    over,
                    Over::Completed {
                        body: Some(body), ..
                    },
                )) => *over <= at && *body == answer.body && lease.variant == asked.variant,
                _ => false,
            });
            return (!right).then(|| "no such record".to_owned());
        }
        if let Some(seconds) = answer.retry_after {
            let left = of_key()
                .filter(stood)
                .map(|lease| lease.deadline.saturating_sub(asked.start))
                .max();
            let most = left.unwrap_or(0).div_ceil(1000).max(1);
            if !(1..=60).contains(&seconds)
                || (seconds > most
                    && !trouble
                    && answer.code.as_deref() == Some("idempotency_in_flight"))
            {
                return Some(format!("retry after {seconds} of {most}"));
            }
        }
        match answer.code.as_deref() {
            None => self.own(asked, at, answer, run),
            Some("idempotency_conflict") => {
                let other = of_key()
                    .filter(stood)
                    .any(|lease| lease.variant != asked.variant);
                let leads = self.ledger.requests.iter().any(|other| {
                    other.key == asked.key && other.variant != asked.variant && other.start <= at
                });
                (!other && (asked.last || !leads)).then(|| "no other stands".to_owned())
            }
            Some("idempotency_in_flight") => {
                // Its node learns of its end a little later.
                let stood = of_key().any(|lease| {
                    let over = lease.over.as_ref().map_or(u64::MAX, |(over, _)| *over);
                    lease.at <= at && over.saturating_add(20) >= asked.start
                });
                let fits = !asked.last && (stood || trouble);
                (!fits).then(|| "nothing is in flight".to_owned())
            }
            Some("idempotency_result_unavailable") => {
                let sealed = of_key().filter(stood).any(|lease| {
                    matches!(lease.over, Some((_, Over::Completed { body: None, .. })))
                });
                let lapsed = of_key().any(|lease| !lease.lapses.is_empty());
                let expired = of_key().any(|lease| {
                    matches!(lease.over, Some((_, Over::Completed { until, .. })) if until <= at)
                });
                let fits = sealed || (run.is_some() && (lapsed || expired));
                (!fits).then(|| "nothing is sealed".to_owned())
            }
            Some("idempotency_outcome_unknown") => {
                let lapsed = of_key().filter(stood).any(|lease| {
                    let ran = self.ledger.runs.iter().any(|run| run.fence == lease.fence);
                    let dead = self.ledger.lives[lease.life].end.is_some();
                    let gives_back = self.plan.nodes[self.ledger.lives[lease.life].node].hold;
                    let known = !asked.last
                        || ran
                        || dead
                        || lease.stray
                        || lease.attempt > 1
                        || !gives_back;
                    known && lease.lapses.iter().any(|lapse| *lapse <= at)
                });
                let fits = settings.hold && lapsed;
                (!fits).then(|| "its outcome is known".to_owned())
            }
            Some("idempotency_store_unavailable") => {
                let fits = trouble && !asked.last && !settings.proceeds;
                (!fits).then(|| "the store is there".to_owned())
            }
            Some(_) => Some("unexpected".to_owned()),
        }
    }

    /// An answer of the handler.
    fn own(&self, asked: &Asked, at: u64, answer: &Answer, run: Option<&Run>) -> Option<String> {
        let Some(run) = run.filter(|run| run.body == answer.body) else {
            return Some("of another".to_owned());
        };
        let Some((end, outcome)) = run.end else {
            return Some("unfinished".to_owned());
        };
        let life = &self.ledger.lives[asked.life];
        let trouble = life.troubled(end.saturating_sub(1), at);
        match (answer.mark.as_deref(), run.fence) {
            (Some("unprotected"), 0) => return None,
            (Some("unrecorded"), 1..) => return (!trouble).then(|| "unrecorded".to_owned()),
            (None, 1..) => {}
            mark => return Some(format!("marked {mark:?}")),
        }
        let lease = &self.ledger.leases[&run.fence];
        let fits = match (&lease.over, outcome) {
            (Some((over, Over::Completed { .. })), Outcome::Record | Outcome::Seal) => *over <= at,
            (Some((over, Over::Released)), Outcome::Release) => *over <= at || trouble,
            // Whatever came of it, nothing stands there that would be an answer.
            (Some((_, Over::Taken)), Outcome::Release) => trouble || !self.ledger.leases.values().any(|other| {
                let done = matches!(other.over, Some((over, Over::Completed { until, .. })) if over <= end && until > at);
                done && other.key == asked.key
            }),
            (_, Outcome::Release) => trouble,
            // Its head had left.
            _ if run.live => trouble,
            _ => false,
        };
        (!fits).then(|| format!("own, and {:?}", lease.over))
    }
}
