//! Whether the answers that clients got are what is promised.

use http::{Version, header::CONTENT_LENGTH};

use crate::{
    judge::{Judge, kept, ours},
    keyed::Carried,
    leases::Over,
    ledger::{Answer, AnswerEnd, Asked, Got, Run, Told},
    plan::Arrival,
    script::{Due, Way},
    steps::Hint,
};

/// From when until when a replay of it may be given.
type Recorded = Option<(u64, u64)>;

impl Judge<'_> {
    pub fn asked(&mut self, asked: &Asked) {
        let runs = self.ledger.runs.iter();
        let own: Vec<_> = runs.filter(|run| run.client == asked.client).collect();
        if let Some(wrong) = self.misasked(asked, &own) {
            self.say(format!("{wrong}: {asked:?}; own: {own:?}"));
        }
    }

    fn misasked(&self, asked: &Asked, own: &[&Run]) -> Option<String> {
        if own.len() > 1 {
            return Some("ran twice for one request".into());
        }
        let own = own.first().copied();
        if asked.arrival != Arrival::Whole && own.is_some() {
            return Some("ran without the whole request".into());
        }
        if own.is_some_and(|run| run.is_keyed() != (asked.carried != Carried::Nowhere)) {
            return Some("ran with another key".into());
        }
        if own.is_some() && self.misses_a_key(asked).is_some() {
            return Some("ran, and was to be refused".into());
        }
        let way = own.map(|run| run.script.way);
        let panics = own.is_some_and(|run| run.script.drops_badly())
            || matches!(way, Some(Way::Panics | Way::PanicsInCall));
        match &asked.got {
            Got::Nothing => None,
            Got::Error => (way != Some(Way::Fails)).then(|| "failed".into()),
            Got::Panic => (!panics).then(|| "panicked".into()),
            Got::Answer(answer) => self.misanswered(asked, answer, own),
        }
    }

    fn misanswered(&self, asked: &Asked, answer: &Answer, own: Option<&Run>) -> Option<String> {
        let replayed = answer.headers.contains_key("idempotent-replayed");
        let Some(number) = answer.headers.get("x-run") else {
            return match replayed {
                true => Some("a refusal is marked as a replay".into()),
                false => self.misrefused(asked, answer, own),
            };
        };
        let number: usize = number.to_str().unwrap().parse().unwrap();
        let run = &self.ledger.runs[number];
        let script = &run.script;
        let wrong = if !run.is_keyed() {
            self.mispassed(asked, answer, run)
        } else if asked.arrival != Arrival::Whole {
            Some("answered an unread request")
        } else if (run.term.0, run.payload) != (asked.key, asked.payload) {
            Some("the answer to another request")
        } else if answer.status != script.status || ours(&answer.headers) != ours(&script.headers) {
            Some("another head")
        } else if !script.bytes().starts_with(&answer.bytes) {
            Some("other bytes")
        } else if self.mismeasured(answer, run, replayed) {
            Some("a wrong length")
        } else if replayed {
            self.misreplayed(asked, answer, run)
        } else {
            self.misgiven(asked, answer, run)
        };
        wrong.map(|wrong| format!("{wrong} (run {number})"))
    }

    /// A request without a key gets what the service said, as it said it.
    fn mispassed(&self, asked: &Asked, answer: &Answer, run: &Run) -> Option<&'static str> {
        let script = &run.script;
        let head = (answer.status, &answer.headers) == (script.status, &script.headers);
        if run.client != asked.client || !head || !script.bytes().starts_with(&answer.bytes) {
            return Some("not what the service said");
        }
        let fits = match &answer.end {
            AnswerEnd::Left => true,
            AnswerEnd::Whole => {
                let whole = answer.bytes == script.bytes();
                script.ends() && whole && answer.trailers.as_ref() == script.trailers()
            }
            AnswerEnd::Panic => script.body_drop_panics || !script.ends(),
            AnswerEnd::Error(error) => error == "scripted" && !script.ends(),
        };
        (!fits).then_some("not as the service said it")
    }

    /// Whether it announces another length than it has.
    fn mismeasured(&self, answer: &Answer, run: &Run, replayed: bool) -> bool {
        let Some(announced) = answer.headers.get(CONTENT_LENGTH) else {
            return false;
        };
        let gathered = replayed || run.script.due(self.settings) == Due::Record;
        let without = run.script.status == 304 && answer.bytes.is_empty();
        let announced: usize = announced.to_str().unwrap().parse().unwrap();
        gathered && !without && run.term.1 > 0 && announced != run.script.bytes().len()
    }

    /// A replay; or an answer that was joined while it grew.
    fn misreplayed(&self, asked: &Asked, answer: &Answer, run: &Run) -> Option<&'static str> {
        let script = &run.script;
        if answer.headers.contains_key("set-cookie") {
            return Some("replayed what is not for it");
        }
        if run.client == asked.client && self.settings.healthy {
            return Some("its own answer is marked as a replay");
        }
        let recorded = self.recorded(run);
        let joined = recorded.is_none_or(|(at, _)| at > answer.at);
        if joined && asked.version == Version::HTTP_10 {
            return Some("joined what may break off, which HTTP/1.0 cannot tell");
        }
        match (&answer.end, recorded) {
            (AnswerEnd::Left, _) => None,
            (AnswerEnd::Panic, _) => Some("a replay panicked"),
            (AnswerEnd::Whole, None) => Some("a replay without a record"),
            (AnswerEnd::Whole, Some((at, _))) if at > asked.until => {
                Some("a replay before the record")
            }
            (AnswerEnd::Whole, Some((_, until))) if until < asked.from => {
                Some("a replay after retention")
            }
            (AnswerEnd::Whole, _) => {
                let whole = answer.bytes == script.bytes();
                let same = whole && answer.trailers == kept(script.trailers());
                (!same).then_some("a replay that is not whole")
            }
            (AnswerEnd::Error(error), _) => {
                let due = script.due(self.settings) == Due::Record && !script.drops_badly();
                let fits = error == "the response that was joined broke off";
                let due = due && !script.rolls_back();
                (!fits || (self.settings.healthy && due)).then_some("a replay broke off")
            }
        }
    }

    /// The answer of its own run.
    fn misgiven(&self, asked: &Asked, answer: &Answer, run: &Run) -> Option<&'static str> {
        if run.client != asked.client {
            return Some("the answer of another, not marked");
        }
        let (script, due) = (&run.script, run.script.due(self.settings));
        let mark = answer.headers.get("idempotency-status");
        let mark = mark.map(|mark| mark.to_str().unwrap());
        let unrecorded = self.told(run.term.0, Told::Unrecorded) > 0;
        match (mark, run.term.1) {
            (Some("unprotected"), 0) => {}
            (_, 0) => return Some("not marked as unprotected"),
            (Some("unrecorded"), _) if unrecorded && !self.settings.healthy => {
                if script.leaves.is_some() {
                    return Some("given, and nobody knows of its transaction");
                }
            }
            (Some(_), _) => return Some("wrongly marked"),
            (None, _) => {}
        }
        let given = run.term.1 > 0 && answer.end == AnswerEnd::Whole;
        if given && script.rolls_back() && !matches!(due, Due::Release(_)) {
            return Some("given, and was rolled back");
        }
        let is_kept = mark.is_none() && due == Due::Record && !unrecorded;
        let late = self.recorded(run).is_none_or(|(at, _)| at > asked.until);
        match &answer.end {
            AnswerEnd::Left => None,
            AnswerEnd::Panic => {
                let panics = script.body_drop_panics || script.hint == Hint::Panics;
                (script.ends() && !panics).then_some("panicked")
            }
            AnswerEnd::Whole if !script.ends() => Some("whole, though it broke off"),
            AnswerEnd::Whole if is_kept && late => Some("given before it was recorded"),
            AnswerEnd::Whole => {
                let whole = answer.bytes == script.bytes();
                let same = whole && answer.trailers.as_ref() == script.trailers();
                (!same).then_some("not the whole answer")
            }
            AnswerEnd::Error(error) => {
                let lost = self.told(run.term.0, Told::Lost(run.term.1)) > 0;
                let lost = lost && error.contains("lost its lease");
                let lost = lost || (error.contains("not confirmed") && self.is_unconfirmed(run));
                let lies = matches!(script.hint, Hint::Exact(_)) && due != Due::Record;
                let broken = !script.ends() || script.drops_badly() || lies || lost;
                (!broken).then_some("broke off")
            }
        }
    }

    fn recorded(&self, run: &Run) -> Recorded {
        let lease = self.ledger.lease(run.term)?;
        match &lease.over {
            // Its node knows of it a little later than the store.
            Some(Over::Completed(at, until, record)) if !record.is_sealed() => {
                Some((*at, (*until).max(lease.known)))
            }
            _ => None,
        }
    }
}
