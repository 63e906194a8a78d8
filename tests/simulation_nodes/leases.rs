//! Whether a node keeps its leases, and knows of their loss.

use super::{
    judge::Judge,
    ledger::{Asked, Granted, Run},
    verb::{Found, Kind},
};

impl Judge<'_> {
    /// From when to when its node takes a lease for held: what counts is when it asked.
    fn beliefs(&self, lease: &Granted) -> Vec<(u64, u64)> {
        let calls = || self.of_fence(lease.fence);
        let claims = calls()
            .filter(|call| call.kind == Kind::Claim)
            .filter_map(|call| call.token);
        let claims: Vec<_> = claims.collect();
        let first = self
            .ledger
            .calls
            .iter()
            .find(|call| call.token.is_some_and(|token| claims.contains(&token)));
        let mut beliefs = Vec::new();
        for call in calls() {
            match (&call.heard, call.kind, first) {
                (Some((heard, Found::Done)), Kind::Claim, Some(first)) => {
                    beliefs.push((*heard, first.sent + lease.duration));
                }
                (Some((heard, Found::Done)), Kind::Renew, _) => {
                    beliefs.push((*heard, call.sent + lease.duration));
                }
                _ => {}
            }
        }
        beliefs.sort_unstable();
        beliefs
    }

    pub fn is_resilient(&self, life: usize) -> bool {
        let node = self.ledger.lives[life].node;
        self.plan.nodes[node].wrappers.resilient
    }

    /// The handler learns of the loss of its lease, in time and not for nothing.
    pub fn knows_of_loss(&mut self, run: &Run, lease: &Granted) {
        let life = &self.ledger.lives[run.life];
        let beliefs = self.beliefs(lease);
        // Looks are not finer than that.
        let early = lease.duration / 100 + 5;
        let refused = self.refused(run.fence);
        let until = |at: u64| {
            beliefs
                .iter()
                .filter(|(heard, _)| *heard <= at)
                .map(|(_, until)| *until)
                .next_back()
        };
        let resilient = self.is_resilient(run.life);
        if let Some(at) = run.lost {
            // What it hears in the same moment may be too late.
            let knew = [until(at), until(at.saturating_sub(1))];
            let lapsed = knew
                .iter()
                .any(|until| until.is_none_or(|until| until <= at + early));
            if !lapsed && refused.is_none_or(|refused| refused > at) && !resilient {
                return self.say(format!(
                    "{at}: f{} is told to be lost for nothing",
                    run.fence
                ));
            }
        }
        let watched = run.watched.or(run.cut).unwrap_or(u64::MAX);
        let lapses = beliefs
            .iter()
            .filter(|(_, end)| until(*end) == Some(*end))
            .map(|(_, end)| *end);
        let due: Vec<_> = lapses.chain(refused).collect();
        for due in due {
            let frozen = life.was_frozen(due.saturating_sub(early), due + 5);
            let untold = run.lost.is_none_or(|at| at > due + 5);
            if run.start < due && watched > due + 5 && untold && !frozen {
                self.say(format!(
                    "{due}: f{} is lost, and that is not told",
                    run.fence
                ));
            }
        }
    }

    /// A lease is renewed for as long as its handler runs, or the store says that it is lost.
    pub fn is_renewed(&mut self, run: &Run, lease: &Granted) {
        if self.is_resilient(run.life) {
            return;
        }
        let life = &self.ledger.lives[run.life];
        let third = (lease.duration / 3).max(1);
        let bound = third + lease.duration / 12 + lease.duration / 50 + 10;
        let renewals = || {
            self.of_fence(run.fence)
                .filter(|call| call.kind == Kind::Renew)
        };
        let refused = self.refused(run.fence);
        let ends = [Some(run.until()), life.end, refused];
        let end = ends.into_iter().flatten().min().unwrap_or(u64::MAX);
        let sent = renewals().map(|call| call.sent).chain([end]);
        let mut last = run.start;
        let late = sent.map(|sent| sent.min(end)).find(|to| {
            let from = last;
            last = from.max(*to);
            to.saturating_sub(from) > bound && !life.was_frozen(from, *to)
        });
        if let Some(late) = late {
            self.say(format!("{late}: f{} is not renewed until then", run.fence));
        }
    }

    /// Whether an answer is told not to be recorded while the lease lives, or would without
    /// renewals.
    pub fn gives_up_early(&self, run: &Run, lease: &Granted, end: u64) -> bool {
        let mut told = self.ledger.events.iter().filter(|told| {
            let same = (told.life, told.key) == (run.life, run.key);
            same && told.name == "unrecorded" && told.at >= end
        });
        let told = match run.live {
            true => told.next().map(|told| told.at),
            // The event may be that of another.
            false => self.ledger.requests[run.request].unsettled(),
        };
        let settled = self.settled(run.fence, u64::MAX).is_some();
        let Some(told) = told.filter(|_| !settled) else {
            return false;
        };
        let beliefs = self.beliefs(lease);
        let until = |at: u64| {
            let known = beliefs.iter().filter(|(heard, _)| *heard < at);
            known.map(|(_, until)| *until).next_back()
        };
        // It may have lapsed, and been renewed by a reply that came late.
        let heard = beliefs.iter().map(|(heard, _)| *heard);
        let mut moments = heard.chain([told]).filter(|at| (end..=told).contains(at));
        let lapsed = moments.any(|at| until(at).is_none_or(|until| until <= at + 1));
        let tried = told + 1 >= end + lease.duration;
        let certain = !self.corrupt(run.fence) && !self.is_resilient(run.life);
        !lapsed && !tried && certain
    }

    /// Whether it began for nobody: who hangs up while it waits leaves no trace.
    pub fn is_for_nobody(&self, run: &Run) -> bool {
        let asked = &self.ledger.requests[run.request];
        let frozen = self.ledger.lives[run.life].was_frozen(asked.start, run.start);
        let token = self.of_fence(run.fence).find_map(|call| call.token);
        let first = self.ledger.calls.iter().find(|call| call.token == token);
        match (asked.hung_up, first) {
            (Some(at), Some(first)) => first.sent > at && !frozen && !self.is_resilient(run.life),
            _ => false,
        }
    }

    /// Who waits does not claim again once its time is over.
    pub fn is_impatient(&self, run: &Run) -> bool {
        let asked = &self.ledger.requests[run.request];
        let frozen = self.ledger.lives[run.life].was_frozen(asked.start, run.start);
        let over = self.waits_until(run.request, asked);
        over.is_some_and(|over| run.start > over) && !frozen
    }

    /// Until when it waits at most, if it leads, and another node was at it.
    pub fn waits_until(&self, request: usize, asked: &Asked) -> Option<u64> {
        let calls = self.ledger.calls.iter();
        let claims = calls.filter(|call| call.kind == Kind::Claim && call.request == Some(request));
        let mut heard = claims.filter_map(|call| call.heard.as_ref());
        let (began, _) = heard.find(|(_, found)| *found == Found::InFlight)?;
        Some(began + asked.settings.wait?)
    }
}
