//! HTTP/1.1 by hand: what is on the wire, and nothing that a client library makes of it.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::soon;

/// A keyed POST as text.
pub(crate) fn raw_post(key: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /pay HTTP/1.1\r\nhost: test\r\nidempotency-key: {key}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// A connection, and what came on it that is not yet read.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    came: Vec<u8>,
}

/// An answer as it was framed.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// How many chunks the body came in; 0 if its length was told.
    pub(crate) chunks: usize,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

impl Raw {
    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter().filter(|(field, _)| field == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        self.all(name).first().copied()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.field("idempotent-replayed") == Some(b"true")
    }

    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            came: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    pub(crate) async fn ask(&mut self, text: &str) -> Raw {
        self.send(text).await;
        self.answer().await
    }

    /// The next answer. Fails on anything that is not one.
    pub(crate) async fn answer(&mut self) -> Raw {
        let line = self.line().await;
        let status = line.strip_prefix(b"HTTP/1.1 ").unwrap_or_else(|| {
            panic!("no answer begins with {:?}", String::from_utf8_lossy(&line))
        });
        let status = std::str::from_utf8(&status[..3]).unwrap().parse().unwrap();
        let mut raw = Raw {
            status,
            fields: self.fields().await,
            body: Vec::new(),
            chunks: 0,
            trailers: Vec::new(),
        };
        if raw.field("transfer-encoding").is_some() {
            assert_eq!(raw.field("transfer-encoding"), Some(&b"chunked"[..]));
            assert_eq!(raw.field("content-length"), None, "two framings at once");
            while let Some(chunk) = self.chunk().await {
                raw.body.extend(chunk);
                raw.chunks += 1;
            }
            raw.trailers = self.fields().await;
        } else if status >= 200 && status != 204 && status != 304 {
            let lengths = raw.all("content-length");
            assert_eq!(lengths.len(), 1, "one length: {raw:?}");
            let length = std::str::from_utf8(lengths[0]).unwrap().parse().unwrap();
            raw.body = self.bytes(length).await;
        }
        raw
    }

    /// Reads until `text` has come, and leaves it to be read.
    pub(crate) async fn came(&mut self, text: &str) {
        let came = |bytes: &[u8]| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        while !came(&self.came) {
            self.more().await;
        }
    }

    /// Half-closes, and returns what else the server sends until it closes too.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        self.stream.shutdown().await.unwrap();
        let mut rest = std::mem::take(&mut self.came);
        soon(self.stream.read_to_end(&mut rest)).await.unwrap();
        rest
    }

    /// The next chunk, unless it is the last, which is empty.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = String::from_utf8(self.line().await).unwrap();
        let size = usize::from_str_radix(&size, 16).unwrap();
        if size == 0 {
            return None;
        }
        let chunk = self.bytes(size).await;
        assert_eq!(self.line().await, b"", "the end of a chunk");
        Some(chunk)
    }

    async fn fields(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return fields;
            }
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            let name = String::from_utf8(line[..colon].to_ascii_lowercase()).unwrap();
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    async fn line(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = self.came.windows(2).position(|part| part == b"\r\n") {
                let line = self.bytes(end + 2).await;
                return line[..end].to_vec();
            }
            self.more().await;
        }
    }

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.came.len() < count {
            self.more().await;
        }
        self.came.drain(..count).collect()
    }

    async fn more(&mut self) {
        let count = soon(self.stream.read_buf(&mut self.came)).await.unwrap();
        let came = String::from_utf8_lossy(&self.came);
        assert!(count > 0, "the server closed after {came:?}");
    }
}
