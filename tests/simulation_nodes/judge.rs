//! Whether what happened is what is promised.

use std::collections::HashMap;

use super::{
    knows::is_corrupt,
    ledger::{Granted, Ledger, Over, Run},
    plan::Plan,
};

/// What was seen, to know that the seeds try something.
#[derive(Debug, Default)]
pub struct Seen {
    pub seeds: u64,
    pub runs: u64,
    pub lapses: u64,
    pub takeovers: u64,
    pub replays: u64,
    pub strays: u64,
    pub codes: HashMap<String, u64>,
}

pub struct Judge<'a> {
    pub plan: &'a Plan,
    pub ledger: &'a Ledger,
    wrong: Vec<String>,
}

pub fn judge(plan: &Plan, ledger: &Ledger, seen: &mut Seen) -> Vec<String> {
    seen.seeds += 1;
    seen.runs += ledger.runs.len() as u64;
    for lease in ledger.leases.values() {
        seen.lapses += lease.lapses.len() as u64;
        seen.takeovers += u64::from(lease.attempt > 1);
        seen.strays += u64::from(lease.stray);
    }
    for asked in &ledger.requests {
        if let Some((_, answer)) = &asked.answer {
            seen.replays += u64::from(answer.replayed);
            let code = answer.code.clone().unwrap_or_else(|| match &answer.error {
                Some(error) => format!("error: {error}"),
                None => format!("{} {:?}", answer.status, answer.mark),
            });
            *seen.codes.entry(code).or_default() += 1;
        }
    }
    let wrong = ledger.wrong.clone();
    let mut judge = Judge {
        plan,
        ledger,
        wrong,
    };
    for run in &ledger.runs {
        judge.run(run);
    }
    judge.starts();
    judge.events();
    for lease in ledger.leases.values() {
        judge.lease(lease);
    }
    for (number, asked) in ledger.requests.iter().enumerate() {
        judge.answered(number, asked);
    }
    for (number, life) in ledger.lives.iter().enumerate() {
        if let Some((_, Some((at, true)))) = life.drained {
            let runs = ledger.runs.iter();
            let late = runs.filter(|run| {
                run.life == number && run.start < at && run.until() > at && run.fence > 0
            });
            if late.count() > 0 {
                judge.say(format!("{at}: life {number} was not drained"));
            }
        }
    }
    judge.wrong
}

impl Judge<'_> {
    pub fn say(&mut self, wrong: String) {
        self.wrong.push(wrong);
    }

    /// A run has a lease of its own, and knows of its loss.
    fn run(&mut self, run: &Run) {
        if run.fence == 0 {
            let asked = &self.ledger.requests[run.request];
            if !asked.settings.proceeds
                || !self.without_store(asked, run.start, |last| !is_corrupt(last))
            {
                self.say(format!("{}: ran unprotected without need", run.start));
            }
            return;
        }
        let Some(lease) = self.ledger.leases.get(&run.fence) else {
            return self.say(format!("{}: no lease f{}", run.start, run.fence));
        };
        let (key, by, attempt) = (lease.key, lease.life, lease.attempt);
        if (key, by, attempt) != (run.key, run.life, run.attempt) || lease.at > run.start {
            self.say(format!("{}: f{} is not of its run", run.start, run.fence));
        }
        if self.is_for_nobody(run) {
            self.say(format!("{}: f{} runs for nobody", run.start, run.fence));
        }
        if self.is_impatient(run) {
            self.say(format!(
                "{}: f{} has waited for too long",
                run.start, run.fence
            ));
        }
        self.knows_of_loss(run, lease);
        self.is_renewed(run, lease);
        self.nothing_is_lost(run, lease);
    }

    /// How often the handler starts in a generation, and under a lease.
    fn starts(&mut self) {
        let mut starts: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut by_fence: HashMap<u64, u64> = HashMap::new();
        for lease in self.ledger.leases.values() {
            let lapses =
                u64::from(matches!(lease.over, Some((_, Over::Taken))) && !lease.lapses.is_empty());
            starts.entry(lease.generation).or_default().1 += lapses;
        }
        for run in self.ledger.runs.iter().filter(|run| run.fence > 0) {
            *by_fence.entry(run.fence).or_default() += 1;
            if let Some(lease) = self.ledger.leases.get(&run.fence) {
                starts.entry(lease.generation).or_default().0 += 1;
            }
        }
        for (fence, count) in by_fence {
            if count > 1 {
                self.say(format!("f{fence} ran {count} times"));
            }
        }
        for (generation, (runs, lapses)) in starts {
            if runs > 1 + lapses {
                self.say(format!(
                    "generation {generation}: {runs} starts, {lapses} lapses"
                ));
            }
        }
    }

    fn lease(&mut self, lease: &Granted) {
        if lease.hold && lease.attempt > 1 {
            self.say(format!(
                "{}: f{} took over, and holds",
                lease.at, lease.fence
            ));
        }
        let run = self.ledger.runs.iter().find(|run| run.fence == lease.fence);
        let life = &self.ledger.lives[lease.life];
        for lapse in &lease.lapses {
            let Some(run) = run else { continue };
            let lives = life.end.is_none_or(|end| end >= *lapse);
            let runs = run.start < *lapse && run.until() > *lapse;
            // An open breaker keeps a wrapper from asking.
            let since = match self.is_resilient(lease.life) {
                true => 1_500 + lease.duration,
                false => lease.duration / 3,
            };
            let since = lapse.saturating_sub(since);
            let jumped = self.ledger.jumps.iter().any(|(at, _)| *at <= *lapse);
            if runs && lives && !jumped && !life.troubled(since, *lapse) {
                self.say(format!("{lapse}: f{} lapsed without a fault", lease.fence));
            }
        }
        self.ends_as_decided(lease, run);
    }
}
