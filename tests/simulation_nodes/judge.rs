//! Whether what happened is what is promised.

use std::collections::HashMap;

use super::{
    ledger::{Granted, Ledger, Outcome, Over, Run},
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

    fn always_holds(&self) -> bool {
        self.plan.nodes.iter().all(|settings| settings.hold)
    }

    /// A run has a lease of its own, and knows of its loss.
    fn run(&mut self, run: &Run) {
        let life = &self.ledger.lives[run.life];
        if run.fence == 0 {
            let asked = &self.ledger.requests[run.request];
            if !life.troubled(asked.start.saturating_sub(1), run.start) {
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
        let watched = run.watched.or(run.cut).unwrap_or(u64::MAX);
        for lapse in &lease.lapses {
            let frozen = life.was_frozen(*lapse, lapse + 5);
            if run.start < *lapse
                && watched > lapse + 5
                && run.lost.is_none_or(|at| at > lapse + 5)
                && !frozen
            {
                self.say(format!("{lapse}: f{} lapsed, and is not told", run.fence));
            }
        }
        if let Some(at) = run.lost {
            let early = lease.duration / 50 + 5;
            let lapsed = lease.lapses.iter().any(|lapse| *lapse <= at + early);
            let gone = lease.over.as_ref().is_some_and(|(over, _)| *over <= at);
            if !lapsed && !gone && !life.troubled(at.saturating_sub(lease.duration), at) {
                self.say(format!(
                    "{at}: f{} is told to be lost for nothing",
                    run.fence
                ));
            }
        }
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
        let holds = self.always_holds();
        for (generation, (runs, lapses)) in starts {
            if runs > 1 + lapses || (holds && runs > 1) {
                self.say(format!(
                    "generation {generation}: {runs} starts, {lapses} lapses"
                ));
            }
        }
    }

    fn lease(&mut self, lease: &Granted) {
        let run = self.ledger.runs.iter().find(|run| run.fence == lease.fence);
        let life = &self.ledger.lives[lease.life];
        for lapse in &lease.lapses {
            let Some(run) = run else { continue };
            let lives = life.end.is_none_or(|end| end >= *lapse);
            let runs = run.start < *lapse && run.until() > *lapse;
            let runs = runs && run.told.is_none_or(|told| told != *lapse);
            if runs && lives && !life.troubled(lapse.saturating_sub(lease.duration / 3), *lapse) {
                self.say(format!("{lapse}: f{} lapsed without a fault", lease.fence));
            }
        }
        let late = run.is_none() && life.end.is_none() && !lease.stray;
        match (&lease.over, run) {
            (Some((at, Over::Released)), Some(run)) => match run.end {
                Some((end, Outcome::Release)) if end <= *at => {}
                end => self.say(format!("{at}: f{} released, and it {end:?}", lease.fence)),
            },
            (Some((at, Over::Completed { body, .. })), Some(run)) => {
                let right = match run.end {
                    Some((end, Outcome::Record)) => end <= *at && body.as_ref() == Some(&run.body),
                    Some((end, Outcome::Seal)) => end <= *at && body.is_none(),
                    _ => false,
                };
                if !right {
                    self.say(format!(
                        "{at}: f{} recorded {body:?} of {run:?}",
                        lease.fence
                    ));
                }
            }
            (Some((at, Over::Completed { .. })), None) => {
                self.say(format!("{at}: f{} recorded, and never ran", lease.fence));
            }
            // The next one may only run beside it if this one lapsed.
            (Some((at, Over::Taken | Over::Gone)), _) if lease.lapses.iter().all(|l| l > at) => {
                self.say(format!("{at}: f{} ended without a lapse", lease.fence));
            }
            (None, Some(run)) if matches!(run.end, Some((_, Outcome::Release))) => {
                let settings = &self.plan.nodes[life.node];
                let insists = settings.hold && settings.retention > self.plan.last;
                if insists && life.end.is_none() {
                    self.say(format!("{}: f{} is never released", lease.at, lease.fence));
                }
            }
            (None, None)
                if late
                    && lease.deadline < self.plan.last
                    && lease.at <= self.plan.healed + 100_000 =>
            {
                let holds = self.plan.nodes[life.node].hold;
                let asked = self
                    .ledger
                    .requests
                    .iter()
                    .filter(|asked| asked.key == lease.key);
                if holds && asked.filter(|asked| asked.last).count() > 0 {
                    self.say(format!(
                        "{}: f{} stands, and nothing ran",
                        lease.at, lease.fence
                    ));
                }
            }
            _ => {}
        }
    }
}
