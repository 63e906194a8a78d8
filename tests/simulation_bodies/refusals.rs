//! Whether refusals have a reason.

use http::header::RETRY_AFTER;
use serde_json::Value;

use crate::{
    judge::Judge,
    keyed::Carried,
    leases::Granted,
    ledger::{Answer, AnswerEnd, Asked, Run, Told},
    plan::Arrival,
};

/// How long a node may take a lease to stand after its last call at most: it pauses before it asks
/// again, be it a store that does not answer or whether another node is done.
const PAUSE: u64 = 1_000;

impl Judge<'_> {
    pub fn misrefused(&self, asked: &Asked, answer: &Answer, own: Option<&Run>) -> Option<String> {
        let problem: Value = match (serde_json::from_slice(&answer.bytes), &answer.end) {
            (Ok(problem), _) => problem,
            (Err(_), AnswerEnd::Left) => return None,
            (Err(_), _) => return Some("neither an answer nor a refusal".into()),
        };
        let code = problem["code"].as_str().unwrap();
        let code = code.strip_prefix("idempotency_").unwrap();
        let arrival = match (code, answer.status.as_u16()) {
            ("payload_too_large", 413) => Arrival::TooLarge,
            ("body_unreadable", 400) => Arrival::Broken,
            ("body_unreadable", 408) => Arrival::Slow,
            _ => Arrival::Whole,
        };
        if arrival != asked.arrival {
            return Some(format!("{arrival:?} in place of {:?}", asked.arrival));
        }
        if arrival != Arrival::Whole {
            return None;
        }
        if let Some(due) = self.misses_a_key(asked) {
            let fits = (code, answer.status.as_u16()) == (due, 400);
            return (!fits).then(|| format!("{code} in place of {due}"));
        }
        if asked.carried == Carried::Nowhere {
            return Some(format!("refused without a key: {code}"));
        }
        if !self.is_justified(code, asked, own) {
            return Some(format!("refused without reason: {code}"));
        }
        if asked.last && !self.is_definite(code, asked) {
            return Some(format!("wedged: {code}"));
        }
        let retry = answer.headers.get(RETRY_AFTER);
        let seconds = retry.map(|seconds| seconds.to_str().unwrap().parse().unwrap());
        let fits = match code {
            "in_flight" | "store_unavailable" | "unconfirmed" => matches!(seconds, Some(1..=60)),
            _ => seconds.is_none(),
        };
        (!fits).then(|| format!("{code}, and retry after {seconds:?} seconds"))
    }

    /// Whether it may be that nobody knows of a transaction, or that it was rolled back.
    pub fn is_unconfirmed(&self, run: &Run) -> bool {
        run.script.rolls_back() || (run.script.leaves.is_some() && !self.settings.healthy)
    }

    /// What it is refused with for its key, whatever there is in the store.
    pub fn misses_a_key(&self, asked: &Asked) -> Option<&'static str> {
        match asked.carried {
            Carried::Badly => Some("key_invalid"),
            Carried::Nowhere if self.settings.required => Some("key_required"),
            _ => None,
        }
    }

    fn is_justified(&self, code: &str, asked: &Asked, own: Option<&Run>) -> bool {
        let mut held = self.held(asked);
        let lost = own.is_some_and(|run| self.told(run.term.0, Told::Lost(run.term.1)) > 0);
        match code {
            "conflict" => held.any(|lease| lease.payload != asked.payload),
            "in_flight" if own.is_some() => lost && held.next().is_some(),
            "in_flight" => {
                let same = held.any(|lease| lease.payload == asked.payload);
                (same || self.claim_failed(asked)) && self.waited(asked)
            }
            "result_unavailable" => lost || held.any(Granted::is_sealed),
            "outcome_unknown" => {
                let lapsed = |lease: &Granted| {
                    lease.lapsed || (lease.over.is_none() && lease.lapses <= asked.until)
                };
                let mut leases = self.ledger.leases.iter();
                let lapsed = leases.any(|lease| lease.term.0 == asked.key && lapsed(lease));
                self.settings.holds && !self.settings.healthy && lapsed
            }
            "store_unavailable" => self.claim_failed(asked),
            "unconfirmed" => own.is_some_and(|run| self.is_unconfirmed(run)),
            _ => false,
        }
    }

    /// Whether that is all there is to say, and not the trouble of before.
    fn is_definite(&self, code: &str, asked: &Asked) -> bool {
        match code {
            "conflict" | "result_unavailable" => true,
            "outcome_unknown" => {
                let before =
                    |lease: &&Granted| lease.term.0 == asked.key && lease.at <= asked.until;
                let last = self.ledger.leases.iter().rev().find(before);
                last.is_some_and(|last| {
                    let ran = self.ledger.run_of(last.term).is_some();
                    ran || self.is_abandoned(last)
                })
            }
            _ => false,
        }
    }

    /// It was won by a claim that brought no answer, and its node said that it left it behind.
    fn is_abandoned(&self, lease: &Granted) -> bool {
        let key = lease.term.0;
        let mut claims = self.ledger.unclaimed.iter();
        let silent =
            claims.any(|(of, from, until)| *of == key && (*from..=*until).contains(&lease.at));
        silent && self.told(key, Told::Abandoned) > 0
    }

    /// The store did not answer a claim while a client was there.
    fn claim_failed(&self, asked: &Asked) -> bool {
        let mut claims = self.ledger.unclaimed.iter();
        claims.any(|(key, from, until)| {
            *key == asked.key && *from <= asked.until && *until >= asked.from
        })
    }

    /// The leases of its key that stood, as far as a node knew, while a client was there.
    fn held(&self, asked: &Asked) -> impl Iterator<Item = &Granted> {
        let waits = self.settings.nodes > 1 && self.settings.wait.is_some();
        let pauses = waits || !self.settings.healthy;
        let pause = if pauses { PAUSE } else { 0 };
        self.ledger.leases.iter().filter(move |lease| {
            let until = lease.stands_until().max(lease.known + pause);
            lease.term.0 == asked.key && lease.at <= asked.until && until >= asked.from
        })
    }

    /// Nobody is sent away before the time is over, but for want of a place.
    fn waited(&self, asked: &Asked) -> bool {
        let crowded = self.settings.max_waiters < 100 || self.settings.max_waiters_per_key < 100;
        let wait = self.settings.wait.unwrap_or(0);
        crowded || asked.until - asked.from >= wait
    }
}
