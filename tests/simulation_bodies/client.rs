//! The clients: some patient, most not.

use std::{
    future::poll_fn, panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use http::Request;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tower::{Layer as _, Service as _};
use tower_idempotency::{IdempotencyLayer, server};

use crate::{
    handler::Handler,
    ledger::{Answer, AnswerEnd, Asked, Got},
    plan::{Leaves, Plan, Reads},
    steps::{BoxError, Steps},
    wire::Wire,
    world::World,
};

type Service = server::Idempotency<Handler, Wire>;
type ResponseBody = server::ResponseBody<Steps>;
type Response = http::Response<ResponseBody>;

/// Sends one request and notes what comes of it; what it holds on to it drops when `over`.
pub async fn send(
    world: Arc<World>,
    layer: IdempotencyLayer<Wire>,
    plan: Plan,
    over: watch::Receiver<bool>,
) {
    sleep(Duration::from_millis(plan.begins)).await;
    let (plan, from) = (Arc::new(plan), world.now());
    world.say(|| format!("ASKS {plan:?}"));
    let asking = ask(layer.layer(Handler(Arc::clone(&world))), Arc::clone(&plan));
    drop(layer);
    let got = match AssertUnwindSafe(asking).catch_unwind().await {
        Err(_) => Got::Panic,
        Ok(None) => Got::Nothing,
        Ok(Some(Err(_))) => Got::Error,
        Ok(Some(Ok(response))) => {
            let read = read(response, world.now(), plan.reads, over).await;
            Got::Answer(Box::new(read))
        }
    };
    let asked = Asked {
        client: plan.client,
        key: plan.key,
        payload: plan.payload,
        carried: plan.carried,
        version: plan.version,
        arrival: plan.arrival,
        last: plan.last.is_some(),
        from,
        until: world.now(),
        got,
    };
    world.say(|| format!("GOT {asked:?}"));
    world.ledger().asked.push(asked);
}

async fn ask(mut service: Service, plan: Arc<Plan>) -> Option<Result<Response, BoxError>> {
    let head = plan.source.head(plan.carried, plan.key);
    let mut request = head
        .version(plan.version)
        .body(Steps::new(plan.body.clone(), plan.hint))
        .unwrap();
    request.extensions_mut().insert(Arc::clone(&plan));
    poll_fn(|cx| tower::Service::<Request<Steps>>::poll_ready(&mut service, cx))
        .await
        .ok()?;
    let mut response = Box::pin(service.call(request));
    let got = match plan.leaves {
        Leaves::Never => Some(response.as_mut().await),
        Leaves::After(time) => timeout(Duration::from_millis(time), response.as_mut())
            .await
            .ok(),
        Leaves::AfterPolls(most) => {
            let mut polls = 0;
            let counted = poll_fn(|cx| {
                if polls >= most {
                    return Poll::Ready(None);
                }
                polls += 1;
                match response.as_mut().poll(cx) {
                    Poll::Pending if polls >= most => Poll::Ready(None),
                    polled => polled.map(Some),
                }
            });
            counted.await
        }
    };
    // Not on the way out, where a panic of its drop would leave what it got to nobody.
    drop(response);
    got
}

async fn read(response: Response, at: u64, reads: Reads, over: watch::Receiver<bool>) -> Answer {
    let (parts, body) = response.into_parts();
    let mut answer = Answer {
        at,
        status: parts.status,
        headers: parts.headers,
        bytes: BytesMut::new(),
        trailers: None,
        end: AnswerEnd::Left,
    };
    let reading = AssertUnwindSafe(read_frames(&mut answer, body, reads, over));
    let end = reading.catch_unwind().await;
    answer.end = end.unwrap_or(AnswerEnd::Panic);
    answer
}

async fn read_frames(
    answer: &mut Answer,
    body: ResponseBody,
    reads: Reads,
    mut over: watch::Receiver<bool>,
) -> AnswerEnd {
    let mut body = pin!(body);
    for number in 0.. {
        match reads {
            Reads::Some(most) if number >= most => return AnswerEnd::Left,
            Reads::Stops(most) if number >= most => {
                let _ = over.wait_for(|over| *over).await;
                return AnswerEnd::Left;
            }
            Reads::Slowly(pause) => sleep(Duration::from_millis(pause)).await,
            Reads::All | Reads::Some(_) | Reads::Stops(_) => {}
        }
        let told_end = body.is_end_stream();
        match body.frame().await {
            None => break,
            Some(_) if told_end => return AnswerEnd::Error("more came after the end".into()),
            Some(Err(error)) => return AnswerEnd::Error(error.to_string()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => answer.bytes.extend_from_slice(&data),
                Err(frame) => answer.trailers = frame.into_trailers().ok(),
            },
        }
    }
    AnswerEnd::Whole
}
