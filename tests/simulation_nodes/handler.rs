//! The operation: takes its time, and keeps a log.

use std::{panic::resume_unwind, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use tower_idempotency::{Directive, Idempotency, server::RequestBody};

use super::{
    chance::Chance,
    ledger::Outcome,
    log::Log,
    node::{Clock, World},
    settings::{LARGE, Settings},
    transaction::Transaction,
};

pub type Body = UnsyncBoxBody<Bytes, String>;

/// Which request it is, for the log alone.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    pub request: usize,
    pub key: usize,
    pub variant: u64,
    pub life: usize,
    pub settings: Settings,
    pub last: bool,
}

pub async fn handle(
    world: World,
    clock: Arc<Clock>,
    request: Request<RequestBody<Full<Bytes>>>,
) -> Result<Response<Body>, String> {
    let tag = *request.extensions().get::<Tag>().unwrap();
    let operation = request.extensions().get::<Idempotency>().unwrap().clone();
    let log = Log::begin(world, clock, tag, operation);
    let mut chance = Chance::of(log.world.lock().seed, &[77, tag.request as u64]);
    let kind = if tag.last { 0 } else { chance.between(0, 99) };
    let takes = match (tag.last, chance.between(0, 3)) {
        (true, _) => 5,
        (_, 0) => chance.between(0, 40),
        (_, 1) => chance.time(1, 3 * tag.settings.lease.min(20_000)),
        (..) => chance.time(1, 3_000),
    };
    let heeds = chance.percent(40);
    if chance.percent(15) && !tag.last {
        log.attach(Transaction::draw(&mut chance));
    }
    if log.works(takes, heeds).await {
        log.end(Outcome::Release);
        return answer(500, &log);
    }
    let settings = tag.settings;
    let own = chance.between(1_000, 20_000);
    let keep = |directive: Directive| directive.retention(Duration::from_millis(own));
    let keeps = |log: &Log| log.change(|run, _| run.keeps = own);
    let (status, outcome, directive) = match kind {
        0..50 => (200, Outcome::Record, None),
        50..54 => {
            keeps(&log);
            (201, Outcome::Record, Some(keep(Directive::record())))
        }
        54..58 => (500, Outcome::Record, Some(Directive::record())),
        58..66 => (500, Outcome::Release, None),
        66..69 => (200, Outcome::Release, Some(Directive::release())),
        69..75 => {
            log.change(|run, _| run.fails = true);
            log.end(Outcome::Release);
            return match kind {
                69..72 => {
                    drop(log);
                    resume_unwind(Box::new("as planned"))
                }
                _ => Err("as planned".to_owned()),
            };
        }
        75..78 => (200, Outcome::Seal, Some(Directive::seal())),
        78..80 => {
            keeps(&log);
            (200, Outcome::Seal, Some(keep(Directive::seal())))
        }
        80..84 => {
            log.swell();
            (200, over_limit(&log, &settings), None)
        }
        _ => {
            if kind % 3 == 0 {
                log.swell();
            }
            return Ok(live(log, chance, settings, kind > 95));
        }
    };
    log.end(outcome);
    let mut response = answer(status, &log)?;
    directive.map(|directive| response.extensions_mut().insert(directive));
    Ok(response)
}

/// What becomes of a large answer.
fn over_limit(log: &Log, settings: &Settings) -> Outcome {
    match settings.limit < LARGE {
        true => log.unkept(settings.over_limit),
        false => Outcome::Record,
    }
}

fn answer(status: u16, log: &Log) -> Result<Response<Body>, String> {
    log.change(|run, _| run.status = status);
    let body = Full::new(Bytes::from(log.body()));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    Ok(Response::builder().status(status).body(body).unwrap())
}

/// An answer in three parts, with pauses.
fn live(log: Log, mut chance: Chance, settings: Settings, breaks: bool) -> Response<Body> {
    log.change(|run, _| (run.live, run.fails) = (true, breaks));
    let pauses: Vec<_> = (0..3).map(|_| chance.time(1, 2_000)).collect();
    let frames = stream::unfold(
        (log, pauses, 0),
        move |(log, mut pauses, part)| async move {
            let body = log.body();
            let third = body.len() / 3;
            let Some(pause) = pauses.pop() else {
                if part < 3 {
                    return None;
                }
                // Else its key was settled before.
                if log.change(|run, _| run.end.is_none()) {
                    log.end(match breaks {
                        true => log.unkept(settings.broken),
                        false => Outcome::Record,
                    });
                }
                return breaks.then(|| (Err("as planned".to_owned()), (log, Vec::new(), 0)));
            };
            log.works(pause, false).await;
            let text = match part {
                0 => &body[..third],
                1 => &body[third..2 * third],
                _ => &body[2 * third..],
            };
            let limit = usize::try_from(settings.limit).unwrap();
            if (part + 1) * third > limit && log.change(|run, _| run.end.is_none()) {
                log.end(log.unkept(settings.over_limit));
            }
            let frame = Frame::data(Bytes::copy_from_slice(text.as_bytes()));
            Some((Ok(frame), (log, pauses, part + 1)))
        },
    );
    Response::new(StreamBody::new(frames).boxed_unsync())
}
