//! What became of all that was asked, to know that the seeds try everything.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ledger::{Answer, AnswerEnd, Got, Ledger};

/// How often something was seen, by its name.
#[derive(Debug, Default)]
pub struct Tried(BTreeMap<String, u64>);

const ALL: [&str; 24] = [
    "an answer",
    "an answer, unprotected",
    "an answer, unrecorded",
    "body_unreadable",
    "conflict",
    "error",
    "in_flight",
    "key_invalid",
    "key_required",
    "left",
    "broke off",
    "nothing",
    "panic",
    "panic of a body",
    "payload_too_large",
    "replay",
    "replay, broke off",
    "result_unavailable",
    "store_unavailable",
    "takeover",
    "trailers",
    "unconfirmed",
    "unconfirmed, live",
    "without a key",
];

impl Tried {
    pub fn count(&mut self, ledger: &Ledger) {
        for lease in &ledger.leases {
            if lease.attempt > 1 {
                self.add("takeover");
            }
        }
        for _ in ledger.runs.iter().filter(|run| !run.is_keyed()) {
            self.add("without a key");
        }
        for asked in &ledger.asked {
            match &asked.got {
                Got::Nothing => self.add("nothing"),
                Got::Error => self.add("error"),
                Got::Panic => self.add("panic"),
                Got::Answer(answer) => self.answer(answer),
            }
        }
    }

    fn answer(&mut self, answer: &Answer) {
        let replayed = answer.headers.contains_key("idempotent-replayed");
        if answer.trailers.is_some() {
            self.add("trailers");
        }
        match &answer.end {
            AnswerEnd::Left => return self.add("left"),
            AnswerEnd::Panic => return self.add("panic of a body"),
            AnswerEnd::Error(error) if error.contains("not confirmed") => {
                return self.add("unconfirmed, live");
            }
            AnswerEnd::Error(_) if replayed => return self.add("replay, broke off"),
            AnswerEnd::Error(_) => return self.add("broke off"),
            AnswerEnd::Whole if replayed => return self.add("replay"),
            AnswerEnd::Whole => {}
        }
        if let Some(mark) = answer.headers.get("idempotency-status") {
            return self.add(&format!("an answer, {}", mark.to_str().unwrap()));
        }
        let problem: Option<Value> = serde_json::from_slice(&answer.bytes).ok();
        let code = problem
            .as_ref()
            .and_then(|problem| problem["code"].as_str());
        match code.and_then(|code| code.strip_prefix("idempotency_")) {
            Some(code) => self.add(code),
            None => self.add("an answer"),
        }
    }

    fn add(&mut self, what: &str) {
        *self.0.entry(what.to_owned()).or_default() += 1;
    }

    /// What was never seen.
    pub fn missed(&self) -> Vec<&'static str> {
        let missed = |what: &&str| !self.0.contains_key(*what);
        ALL.into_iter().filter(missed).collect()
    }
}
