//! The operation: takes its time, and keeps a log.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::time::sleep;
use tower_idempotency::{Directive, Idempotency, server::RequestBody};

use super::{
    chance::Chance,
    ledger::{Outcome, Run},
    node::{Clock, World},
};

pub type Body = UnsyncBoxBody<Bytes, String>;

/// Which request it is, for the log alone.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    pub request: usize,
    pub key: usize,
    pub variant: u64,
    pub life: usize,
    pub lease: u64,
    pub last: bool,
}

pub async fn handle(
    world: World,
    clock: Arc<Clock>,
    request: Request<RequestBody<Full<Bytes>>>,
) -> Result<Response<Body>, String> {
    let tag = *request.extensions().get::<Tag>().unwrap();
    let operation = request.extensions().get::<Idempotency>().unwrap().clone();
    let log = Log::begin(world, clock, tag, &operation);
    let mut chance = Chance::of(log.world.lock().seed, &[77, tag.request as u64]);
    let kind = if tag.last { 0 } else { chance.between(0, 99) };
    let takes = match (tag.last, chance.between(0, 3)) {
        (true, _) => 5,
        (_, 0) => chance.between(0, 40),
        (_, 1) => chance.time(1, 3 * tag.lease.min(20_000)),
        (..) => chance.time(1, 3_000),
    };
    let heeds = chance.percent(40);
    let work = sleep(Duration::from_millis(takes));
    tokio::pin!(work);
    tokio::select! {
        biased;
        () = operation.lease_lost() => {
            log.change(|run, now| run.lost = Some(now));
            if heeds {
                log.end(Outcome::Release);
                return answer(500, &log);
            }
            work.await;
        }
        () = &mut work => log.change(|run, now| run.watched = Some(now)),
    }
    match kind {
        0..65 => {
            log.end(Outcome::Record);
            answer(200, &log)
        }
        65..75 => {
            log.end(Outcome::Release);
            answer(500, &log)
        }
        75..78 => {
            log.end(Outcome::Release);
            drop(log);
            resume_unwind(Box::new("as planned"))
        }
        78..81 => {
            log.end(Outcome::Release);
            Err("as planned".to_owned())
        }
        81..85 => {
            log.end(Outcome::Seal);
            let mut response = answer(200, &log)?;
            response.extensions_mut().insert(Directive::seal());
            Ok(response)
        }
        _ => Ok(live(log, chance, kind > 97)),
    }
}

fn answer(status: u16, log: &Log) -> Result<Response<Body>, String> {
    let body = Full::new(Bytes::from(log.body()));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    Ok(Response::builder().status(status).body(body).unwrap())
}

/// An answer in three parts, with pauses.
fn live(log: Log, mut chance: Chance, breaks: bool) -> Response<Body> {
    log.change(|run, _| run.live = true);
    let pauses: Vec<_> = (0..3).map(|_| chance.time(1, 2_000)).collect();
    let frames = stream::unfold(
        (log, pauses, 0),
        move |(log, mut pauses, part)| async move {
            let Some(pause) = pauses.pop() else {
                if part < 3 {
                    return None;
                }
                log.end(if breaks {
                    Outcome::Seal
                } else {
                    Outcome::Record
                });
                let end = breaks.then(|| (Err("as planned".to_owned()), (log, Vec::new(), 0)));
                return end;
            };
            sleep(Duration::from_millis(pause)).await;
            let body = log.body();
            let third = body.len() / 3;
            let text = match part {
                0 => &body[..third],
                1 => &body[third..2 * third],
                _ => &body[2 * third..],
            };
            let frame = Frame::data(Bytes::copy_from_slice(text.as_bytes()));
            Some((Ok(frame), (log, pauses, part + 1)))
        },
    );
    Response::new(StreamBody::new(frames).boxed_unsync())
}

/// The log of one run.
struct Log {
    world: World,
    clock: Arc<Clock>,
    run: usize,
}

impl Log {
    fn begin(world: World, clock: Arc<Clock>, tag: Tag, operation: &Idempotency) -> Self {
        let (fence, attempt) = (operation.fence().get(), operation.attempt());
        let start = clock.now();
        let run = {
            let mut network = world.lock();
            let runs = &mut network.ledger.runs;
            let run = runs.len();
            runs.push(Run {
                key: tag.key,
                fence,
                attempt,
                life: tag.life,
                request: tag.request,
                start,
                watched: None,
                lost: None,
                told: None,
                end: None,
                cut: None,
                body: format!("k{} v{} f{fence} q{}", tag.key, tag.variant, tag.request),
                live: false,
            });
            network.say(start, || {
                format!("life {} RUNS {tag:?} f{fence} a{attempt}", tag.life)
            });
            run
        };
        Self { world, clock, run }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Run, u64) -> T) -> T {
        let now = self.clock.now();
        change(&mut self.world.lock().ledger.runs[self.run], now)
    }

    fn end(&self, outcome: Outcome) {
        self.change(|run, now| run.end = Some((now, outcome)));
        let network = self.world.lock();
        let run = &network.ledger.runs[self.run];
        network.say(self.clock.now(), || {
            format!("life {} ENDS f{} {outcome:?}", run.life, run.fence)
        });
    }

    fn body(&self) -> String {
        self.change(|run, _| run.body.clone())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.change(|run, now| {
            if run.end.is_none() {
                run.cut = Some(now);
            }
        });
    }
}
