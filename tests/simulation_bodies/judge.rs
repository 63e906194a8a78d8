//! Whether what happened in the store and to the handlers is what is promised.

use http::HeaderMap;
use tower_idempotency::Cause;

use crate::{
    leases::{Granted, Sent},
    ledger::{Body, Ledger, Run, Told},
    script::Due,
    settings::Settings,
    world::{KEYS, World},
};

pub struct Judge<'a> {
    pub ledger: &'a Ledger,
    pub settings: &'a Settings,
    wrong: Vec<String>,
}

/// All that went wrong.
pub fn judge(world: &World) -> Vec<String> {
    let ledger = &*world.ledger();
    let mut judge = Judge {
        ledger,
        settings: &world.settings,
        wrong: ledger.wrong.clone(),
    };
    for (number, run) in ledger.runs.iter().enumerate() {
        judge.run(number, run);
    }
    for lease in &ledger.leases {
        judge.lease(lease);
    }
    (0..KEYS).for_each(|key| judge.events(key));
    for asked in &ledger.asked {
        judge.asked(asked);
    }
    judge.wrong
}

impl Judge<'_> {
    pub fn say(&mut self, wrong: String) {
        self.wrong.push(wrong);
    }

    pub fn told(&self, key: usize, told: Told) -> usize {
        let all = self.ledger.told.iter();
        all.filter(|one| **one == (key, told)).count()
    }

    /// A handler starts once under one lease, and is never cut short.
    fn run(&mut self, number: usize, run: &Run) {
        let wrong = self.misrun(number, run);
        if let Some(wrong) = wrong {
            self.say(format!("run {number} {wrong}: {run:?}"));
        }
    }

    fn misrun(&self, number: usize, run: &Run) -> Option<&'static str> {
        if run.over.is_none() {
            return Some("never ended");
        }
        if !run.is_keyed() {
            return None;
        }
        if run.cut {
            return Some("was cut short");
        }
        if run.term.1 == 0 {
            return (!self.settings.proceeds).then_some("ran unprotected");
        }
        match self.ledger.lease(run.term) {
            Some(lease) if lease.payload == run.payload => {
                if lease.attempt != run.attempt {
                    return Some("counts its attempts wrongly");
                }
            }
            _ => return Some("ran without a lease"),
        }
        let earlier = &self.ledger.runs[..number];
        if earlier.iter().any(|other| other.term == run.term) {
            return Some("ran under the lease of another");
        }
        if run.attempt > 1 && (self.settings.healthy || self.settings.holds) {
            return Some("ran again");
        }
        let due = run.script.due(self.settings);
        if due == Due::Record && run.body != Body::Ended && !run.script.drops_badly() {
            return Some("has a body that was not read to its end");
        }
        if self.told(run.term.0, Told::Claimed(run.term.1)) != 1 {
            return Some("has a claim that was not told once");
        }
        (self.told(run.term.0, Told::Lost(run.term.1)) > 1).then_some("has lost its lease twice")
    }

    /// What becomes of a lease is what its handler's answer says.
    fn lease(&mut self, lease: &Granted) {
        let run = self.ledger.run_of(lease.term);
        let due = run.map(|run| run.script.due(self.settings));
        for sent in &lease.sent {
            if let Some(what) = misfit(sent, run, due, self.settings) {
                self.say(format!("{what}, and due was {due:?}: {lease:?} {run:?}"));
            }
        }
        if self.settings.healthy && lease.over.is_none() {
            self.say(format!("left: {lease:?} {run:?}"));
        }
    }

    /// Each claim has one end.
    fn events(&mut self, key: usize) {
        let told = self.ledger.told.iter().filter(|(of, _)| *of == key);
        let (mut claimed, mut ended, mut left) = (0, 0, 0);
        for (_, told) in told {
            match told {
                Told::Claimed(_) => claimed += 1,
                Told::Released(Cause::ClaimUnconfirmed) => {}
                Told::Recorded | Told::Unrecorded | Told::Sealed(_) | Told::Released(_) => {
                    ended += 1;
                }
                Told::Lost(_) | Told::Abandoned => left += 1,
            }
        }
        if ended > claimed || ended + left < claimed || (self.settings.healthy && left > 0) {
            self.say(format!(
                "k{key}: {claimed} claims, {ended} ends, {left} left"
            ));
        }
    }
}

/// What is wrong with what was sent to the store.
fn misfit(
    sent: &Sent,
    run: Option<&Run>,
    due: Option<Due>,
    settings: &Settings,
) -> Option<&'static str> {
    match (sent, run, due) {
        (Sent::Release(true), None, _) => None,
        (Sent::Release(true), _, Some(Due::Release(_))) => None,
        (Sent::Release(true), Some(run), _)
            if run.script.drops_badly() || run.script.rolls_back() =>
        {
            None
        }
        (Sent::Release(_), ..) => Some("was released"),
        (Sent::Complete(record, ..), _, Some(Due::Seal(_))) if record.is_sealed() => None,
        (Sent::Complete(record, retention, body), Some(run), Some(Due::Record)) => {
            let script = &run.script;
            if *retention != script.retention(settings) {
                return Some("was kept for another time");
            }
            if *body != Some(Body::Ended) {
                return Some("was recorded before its end");
            }
            let same = record.status() == Some(script.status)
                && record.body().concat() == script.bytes()
                && ours(&record.headers()) == ours(&script.headers)
                && record.trailers() == kept(script.trailers());
            (!same).then_some("another answer was recorded")
        }
        _ => Some("was completed"),
    }
}

/// The fields that are to be kept, in order.
pub fn ours(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let ours = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let ours = name.as_str().starts_with("x-");
        ours.then(|| (name.to_string(), value.as_bytes().to_vec()))
    };
    headers.iter().filter_map(ours).collect()
}

/// What is to be kept of trailers.
pub fn kept(trailers: Option<&HeaderMap>) -> Option<HeaderMap> {
    let mut kept = trailers?.clone();
    kept.remove("server-timing");
    Some(kept)
}
