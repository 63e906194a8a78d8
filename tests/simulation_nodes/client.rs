//! Clients: they ask, read the answer to its end, and may hang up.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::server::ResponseBody;

use super::{
    handler::{Body, Tag, handle},
    ledger::{Answer, Asked},
    link::REQUEST,
    plan::Act,
    run::Sim,
};

impl Sim {
    pub fn ask(&mut self, at: u64, act: Act) {
        let Act::Ask {
            node,
            layer,
            key,
            variant,
            hangs_up,
            last,
        } = act
        else {
            unreachable!("{act:?}");
        };
        let settings = self.plan.nodes[node].layers[layer];
        // Connections that are there already are served while a node drains.
        let Some(node) = self.nodes[node].as_ref() else {
            return;
        };
        let (number, life) = (self.clients.len(), node.life);
        let asked = Asked {
            key,
            variant,
            life,
            start: at,
            settings,
            hung_up: None,
            answer: None,
        };
        self.world.lock().ledger.requests.push(asked);
        let mut request = Request::post("/")
            .header("idempotency-key", format!("k{key}"))
            .body(Full::new(Bytes::from(format!("v{variant}"))))
            .unwrap();
        let tag = Tag {
            request: number,
            key,
            variant,
            life,
            settings,
            last,
        };
        request.extensions_mut().insert(tag);
        let (world, clock) = (self.world.clone(), node.clock.clone());
        let service = {
            let (world, clock) = (world.clone(), clock.clone());
            service_fn(move |request| handle(world.clone(), clock.clone(), request))
        };
        let service = node.layers[layer].layer(service);
        let client = node.runtime.spawn(async move {
            let asked = REQUEST.scope(number, service.oneshot(request));
            let answer = AssertUnwindSafe(async { read(asked.await).await });
            let answer = answer.catch_unwind().await.unwrap_or_else(|panic| Answer {
                error: Some(
                    panic
                        .downcast_ref::<&str>()
                        .map_or_else(String::new, ToString::to_string),
                ),
                ..Answer::default()
            });
            let now = clock.now();
            let mut network = world.lock();
            network.say(now, || format!("life {life} ANSWERS q{number} {answer:?}"));
            network.ledger.requests[number].answer = Some((now, answer));
        });
        self.clients.push(Some(client.abort_handle()));
        if let Some(after) = hangs_up {
            self.plan(at + after, Act::HangUp { request: number });
        }
    }
}

async fn read(response: Result<Response<ResponseBody<Body>>, String>) -> Answer {
    let response = match response {
        Ok(response) => response,
        Err(error) => {
            return Answer {
                error: Some(error),
                ..Answer::default()
            };
        }
    };
    let (head, mut body) = response.into_parts();
    let field = |name: &str| {
        head.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let mut answer = Answer {
        status: head.status.as_u16(),
        replayed: field("idempotent-replayed").is_some(),
        mark: field("idempotency-status"),
        retry_after: field("retry-after").map(|seconds| seconds.parse().unwrap()),
        ..Answer::default()
    };
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend(frame.into_data().unwrap()),
            Err(error) => answer.error = Some(error.to_string()),
        }
    }
    answer.body = String::from_utf8(bytes).unwrap();
    if field("content-type").is_some_and(|kind| kind == "application/problem+json") {
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        answer.code = Some(problem["code"].as_str().unwrap().to_owned());
    }
    answer
}
