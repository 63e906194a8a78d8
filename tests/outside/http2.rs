//! An HTTP/2 client on one connection that can be cut.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http2, rt::Executor};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::{JoinHandle, JoinSet},
};

use super::{Answer, AnyBody, full, soon, whole};

pub(crate) struct Http2 {
    sender: http2::SendRequest<AnyBody>,
    tasks: Tasks,
}

/// All the tasks of a connection; one of them has the socket.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let task = async move { drop(task.await) };
        self.0.lock().unwrap().spawn(task);
    }
}

/// A keyed POST.
pub(crate) fn post2(body: AnyBody) -> Request<AnyBody> {
    let request = Request::post("http://test/pay").header("idempotency-key", "k");
    request.body(body).unwrap()
}

impl Http2 {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let tasks = Tasks::default();
        let (sender, connection) = http2::handshake(tasks.clone(), stream).await.unwrap();
        tasks.execute(connection);
        Self { sender, tasks }
    }

    /// Sends a request; its answer, or nothing if it is not waited for.
    pub(crate) fn start(
        &mut self,
        request: Request<AnyBody>,
    ) -> JoinHandle<hyper::Result<Response<Incoming>>> {
        tokio::spawn(self.sender.send_request(request))
    }

    pub(crate) async fn head(&mut self, request: Request<AnyBody>) -> Response<Incoming> {
        soon(self.sender.send_request(request)).await.unwrap()
    }

    pub(crate) async fn ask(&mut self, request: Request<AnyBody>) -> Answer {
        whole(self.head(request).await).await
    }

    /// The same request as the first, on a connection of its own.
    pub(crate) async fn retry(address: SocketAddr) -> Answer {
        Self::open(address).await.ask(post2(full("1"))).await
    }

    /// Drops the socket in the middle of whatever it does.
    pub(crate) async fn cut(self) {
        let mut tasks = std::mem::take(&mut *self.tasks.0.lock().unwrap());
        soon(tasks.shutdown()).await;
    }
}
