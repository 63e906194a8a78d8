//! What one run of the handler does, and what is to become of its answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tower_idempotency::{Cause, Directive, Outcome, Unkept};

use crate::{
    chance::Chance,
    ledger::millis,
    settings::Settings,
    steps::{Hint, Step, bytes, pause, pauses, size},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Answers,
    PanicsInCall,
    Panics,
    Fails,
}

/// How the transaction ends that a handler leaves with its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    Committed,
    RolledBack,
}

#[derive(Debug)]
pub struct Script {
    pub way: Way,
    pub leaves: Option<Leaves>,
    pub before: Vec<Step>,
    pub status: StatusCode,
    pub directive: Option<Directive>,
    pub headers: HeaderMap,
    pub body: Vec<Step>,
    pub hint: Hint,
    pub future_drop_panics: bool,
    pub body_drop_panics: bool,
}

/// What is to become of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Record,
    Seal(Cause),
    Release(Cause),
}

const STATUSES: [u16; 14] = [
    200, 200, 200, 200, 200, 201, 204, 304, 404, 422, 409, 500, 503, 401,
];

impl Script {
    /// Answers with a few bytes after that many milliseconds.
    pub fn plain(run: usize, takes: u64) -> Self {
        let body = vec![Step::Data(Bytes::from(format!("r{run}")))];
        Self {
            way: Way::Answers,
            leaves: None,
            before: vec![Step::Sleep(takes)],
            status: StatusCode::OK,
            directive: None,
            headers: headers(run),
            hint: Hint::Exact(size(&body)),
            body,
            future_drop_panics: false,
            body_drop_panics: false,
        }
    }

    pub fn draw(chance: &mut Chance, run: usize) -> Self {
        let way = match chance.between(0, 24) {
            0 => Way::PanicsInCall,
            1 => Way::Panics,
            2 => Way::Fails,
            _ => Way::Answers,
        };
        let status = chance.one_of(&STATUSES);
        let kept = Duration::from_millis(chance.between(0, 20_000));
        let directive = match chance.between(0, 19) {
            0 => Some(Directive::record()),
            1 => Some(Directive::release()),
            2 => Some(Directive::seal()),
            3 => Some(Directive::record().retention(kept)),
            _ => None,
        };
        let body = body(chance, run);
        let size = size(&body);
        let hint = match chance.between(0, 9) {
            0..=3 => Hint::Unknown,
            4..=7 => Hint::Exact(size),
            8 => Hint::Exact((size + chance.between(0, 4)).saturating_sub(2)),
            _ => Hint::Panics,
        };
        let mut headers = headers(run);
        if chance.percent(30) {
            let wrong = u64::from(chance.percent(30));
            headers.insert("content-length", HeaderValue::from(size + wrong));
        }
        Self {
            way,
            leaves: match chance.between(0, 19) {
                0..=1 => Some(Leaves::Committed),
                2 => Some(Leaves::RolledBack),
                _ => None,
            },
            before: pauses(chance),
            status: StatusCode::from_u16(status).unwrap(),
            directive,
            headers,
            body,
            hint,
            future_drop_panics: chance.percent(2),
            body_drop_panics: chance.percent(2),
        }
    }

    /// What is promised to become of the key under these settings.
    pub fn due(&self, settings: &Settings) -> Due {
        match self.way {
            Way::Answers => {}
            Way::PanicsInCall | Way::Panics => return Due::Release(Cause::Panic),
            Way::Fails => return Due::Release(Cause::ServiceError),
        }
        let released = matches!(self.status.as_u16(), 401 | 500 | 503);
        match self.directive.map(|directive| directive.outcome()) {
            Some(Outcome::Release) => return Due::Release(Cause::Directive),
            Some(Outcome::Seal) => return Due::Seal(Cause::Directive),
            None if released => return Due::Release(Cause::Directive),
            _ => {}
        }
        let Some(cause) = self.unkept(settings) else {
            return Due::Record;
        };
        let unkept = match cause {
            Cause::OverLimit => settings.over_limit,
            _ => settings.broken_body,
        };
        match unkept {
            Unkept::DangerRelease if self.leaves.is_none() => Due::Release(cause),
            _ => Due::Seal(cause),
        }
    }

    fn unkept(&self, settings: &Settings) -> Option<Cause> {
        let (limit, beyond) = match self.hint {
            Hint::Exact(size) if size > settings.max_response => return Some(Cause::OverLimit),
            Hint::Exact(size) => (size, Cause::BodyFailed),
            _ => (settings.max_response, Cause::OverLimit),
        };
        let mut sum = 0;
        for step in &self.body {
            match step {
                Step::Data(data) => sum += data.len() as u64,
                Step::Fail | Step::Panic => return Some(Cause::BodyFailed),
                _ => {}
            }
            if sum > limit {
                return Some(beyond);
            }
        }
        let is_short = matches!(self.hint, Hint::Exact(size) if sum < size);
        is_short.then_some(Cause::BodyFailed)
    }

    /// For how long its answer is to be kept.
    pub fn retention(&self, settings: &Settings) -> u64 {
        let usual = Duration::from_millis(settings.retention);
        let asked = self.directive;
        millis(asked.map_or(usual, |directive| directive.retention_or(usual)))
    }

    pub fn rolls_back(&self) -> bool {
        self.leaves == Some(Leaves::RolledBack)
    }

    /// Whether a drop may panic: the layer may take that for a panic of the handler.
    pub fn drops_badly(&self) -> bool {
        self.future_drop_panics || self.body_drop_panics
    }

    pub fn bytes(&self) -> Vec<u8> {
        bytes(&self.body)
    }

    pub fn trailers(&self) -> Option<&HeaderMap> {
        let mut steps = self.body.iter();
        steps.find_map(|step| match step {
            Step::Trailers(trailers) => Some(trailers),
            _ => None,
        })
    }

    /// Whether the body comes to its end.
    pub fn ends(&self) -> bool {
        let mut steps = self.body.iter();
        !steps.any(|step| matches!(step, Step::Fail | Step::Panic))
    }
}

fn headers(run: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-run", HeaderValue::from(run));
    headers.append("x-many", HeaderValue::from_static("one"));
    headers.append("x-many", HeaderValue::from_bytes(b"\xff two").unwrap());
    headers.insert("set-cookie", HeaderValue::from_static("for=one"));
    headers
}

fn body(chance: &mut Chance, run: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let (frames, pausing) = (chance.between(0, 5), chance.one_of(&[0, 30, 80]));
    for number in 0..frames {
        while chance.percent(pausing) {
            steps.push(pause(chance));
        }
        let text = match chance.between(0, 7) {
            0 => String::new(),
            1 => "#".repeat(chance.index(40)),
            _ => format!("{run}.{number} "),
        };
        steps.push(Step::Data(Bytes::from(text)));
    }
    while chance.percent(pausing) {
        steps.push(pause(chance));
    }
    match chance.between(0, 19) {
        0 => steps.push(Step::Fail),
        1 => steps.push(Step::Panic),
        2..=6 => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from(run));
            if chance.percent(50) {
                trailers.insert("server-timing", HeaderValue::from_static("db"));
            }
            steps.push(Step::Trailers(trailers));
        }
        _ => {}
    }
    steps
}
