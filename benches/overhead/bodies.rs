//! Large request bodies against the bare digest of their bytes.

use std::{
    convert::Infallible,
    hint::black_box,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
    vec,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::{IdempotencyLayer, MemoryStore};

use crate::{
    allocator::{counts, reset_peak},
    stack::read,
};

const MIB: usize = 1024 * 1024;
const FRAME: usize = 64 * 1024;

/// Measures bodies of 1 and 64 MiB, in frames of 64 KiB and in one.
pub fn measure(runtime: &Runtime, rounds: usize) {
    println!(
        "{:<44} {:>11} {:>11} {:>9} {:>13}",
        "request bodies", "SHA-256", "request", "ratio", "peak bytes"
    );
    for (mib, rounds) in [(1, rounds * 8), (64, rounds)] {
        for frame in [FRAME, mib * MIB] {
            let body = Bytes::from(vec![7; mib * MIB]);
            let frames = (0..body.len()).step_by(frame);
            let frames: Vec<_> = frames.map(|at| body.slice(at..at + frame)).collect();
            compare(runtime, mib, &frames, rounds);
        }
    }
    println!();
}

fn compare(runtime: &Runtime, mib: usize, frames: &[Bytes], rounds: usize) {
    let layer = IdempotencyLayer::new(MemoryStore::new()).max_request_body(1 << 30);
    let (mut hashes, mut requests, mut ratios) = (f64::MAX, f64::MAX, Vec::new());
    let mut peak = 0;
    for round in 0..rounds {
        let hash = timed(|| hash(frames));
        let before = counts().live;
        let request = request(frames, round);
        reset_peak();
        let request = timed(|| runtime.block_on(send(&layer, request)));
        peak = peak.max(counts().peak - before);
        hashes = hashes.min(hash);
        requests = requests.min(request);
        ratios.push(request / hash);
    }
    ratios.sort_by(f64::total_cmp);
    let name = format!("  {mib} MiB in {}", frames.len());
    println!(
        "{name:<44} {hashes:>8.2} ms {requests:>8.2} ms {:>9.3} {peak:>13}",
        ratios[ratios.len() / 2]
    );
    assert!(peak < MIB as u64, "the body was copied");
}

fn timed(run: impl FnOnce()) -> f64 {
    let began = Instant::now();
    run();
    began.elapsed().as_secs_f64() * 1e3
}

fn hash(frames: &[Bytes]) {
    let mut digest = Sha256::new();
    frames.iter().for_each(|frame| digest.update(frame));
    black_box(digest.finalize());
}

fn request(frames: &[Bytes], round: usize) -> Request<InFrames> {
    let frames = frames.to_vec();
    Request::post("/uploads")
        .header("idempotency-key", format!("round-{round}"))
        .body(InFrames(frames.into_iter()))
        .expect("a request")
}

async fn send(layer: &IdempotencyLayer<MemoryStore>, request: Request<InFrames>) {
    let service = layer.layer(service_fn(async |request: Request<_>| {
        let length = read(request.into_body()).await;
        let answer = Full::new(Bytes::from(length.to_string()));
        Ok::<_, Infallible>(Response::new(answer))
    }));
    let Ok(response) = service.oneshot(request).await;
    assert!(read(response.into_body()).await > 0);
}

/// A body that arrives frame by frame.
struct InFrames(vec::IntoIter<Bytes>);

impl Body for InFrames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|frame| Ok(Frame::data(frame))))
    }
}
