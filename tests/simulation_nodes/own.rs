//! Whether who ran was told what became of it.

use super::{
    judge::Judge,
    ledger::{Answer, Asked, Outcome, Run},
    verb::Found,
};

impl Judge<'_> {
    /// It ran: its answer is its own, unless its lease was lost.
    pub fn own(&self, run: &Run, asked: &Asked, at: u64, answer: &Answer) -> Option<String> {
        let Some((_, outcome)) = run.end else {
            return Some("unfinished".to_owned());
        };
        let found = match run.fence {
            0 => None,
            fence => self.settled(fence, at).map(|(_, found)| found),
        };
        let is_doubtful = matches!(found, None | Some(Found::RolledBack));
        if run.attaches && outcome != Outcome::Release && is_doubtful {
            return (!unconfirmed(run, answer)).then(|| format!("the store said {found:?}"));
        }
        if let Some(found) = found.filter(|found| **found != Found::Done) {
            return match (run.live, run.fails) {
                (true, _) => {
                    let cut = run.body.starts_with(&answer.body);
                    let told = answer
                        .error
                        .as_deref()
                        .is_some_and(|e| e.contains("lost its lease"));
                    (!cut || !told).then(|| "its lease was lost".to_owned())
                }
                (false, true) => (!planned(answer)).then(|| "of another".to_owned()),
                (false, false) => self.on_loss(found, asked, at, answer),
            };
        }
        if run.fails && !run.live {
            return (!planned(answer)).then(|| "of another".to_owned());
        }
        let mark = match (run.fence, found, outcome) {
            (0, ..) => Some("unprotected"),
            (_, None, Outcome::Record | Outcome::Seal) if !run.live => Some("unrecorded"),
            _ => None,
        };
        let fits = answer.status == run.status
            && answer.body == run.body
            && !answer.replayed
            && answer.mark.as_deref() == mark
            && run.fails == planned(answer)
            && answer.error.is_some() == run.fails;
        (!fits).then(|| format!("own, {outcome:?}, and the store said {found:?}"))
    }

    fn on_loss(&self, found: &Found, asked: &Asked, at: u64, answer: &Answer) -> Option<String> {
        let code = match found {
            Found::Record(Some(body)) => {
                // Or it is of another operation.
                let replays = answer.replayed && answer.body == *body;
                let mine = self
                    .variant_of(body, asked, at)
                    .is_none_or(|of| of == asked.variant);
                if mine {
                    return (!replays).then(|| "is not what stands there".to_owned());
                }
                "idempotency_result_unavailable"
            }
            Found::InFlight => "idempotency_in_flight",
            _ => "idempotency_result_unavailable",
        };
        let fits = answer.code.as_deref() == Some(code);
        (!fits).then(|| format!("the store said {found:?}"))
    }

    /// Of whose operation a record is; none if it was given by hand.
    fn variant_of(&self, record: &str, asked: &Asked, at: u64) -> Option<u64> {
        let of_key = |run: &&Run| run.key == asked.key && run.body == record && run.start <= at;
        let run = self.ledger.runs.iter().find(of_key)?;
        Some(self.ledger.requests[run.request].variant)
    }
}

/// The transaction of the handler was rolled back, or nobody knows.
fn unconfirmed(run: &Run, answer: &Answer) -> bool {
    if run.live {
        let error = answer.error.as_deref().unwrap_or_default();
        return run.body.starts_with(&answer.body) && error.contains("not confirmed");
    }
    let code = answer.code.as_deref();
    (code, answer.status, answer.retry_after) == (Some("idempotency_unconfirmed"), 503, Some(1))
}

fn planned(answer: &Answer) -> bool {
    answer.error.as_deref() == Some("as planned")
}
