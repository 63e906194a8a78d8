//! Where a request has its key.

use bytes::Bytes;
use http::{Request, request};
use tower_idempotency::{
    Fingerprint, FingerprintState, Fingerprinter as _, HeaderKey, IdempotencyLayer, JsonField,
    JsonFingerprint,
};

use crate::{chance::Chance, wire::Wire};

/// Where the layer looks for keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Header,
    Field,
    Either,
}

/// Where one request has its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    Header,
    Field,
    Both,
    Nowhere,
    /// The field has no string, or another key than the header.
    Badly,
}

const FIELD: &str = "idempotency_key";

impl Source {
    pub fn draw(chance: &mut Chance) -> Self {
        chance.one_of(&[Self::Header, Self::Header, Self::Field, Self::Either])
    }

    pub fn set(self, layer: IdempotencyLayer<Wire>) -> IdempotencyLayer<Wire> {
        match self {
            Self::Header => layer,
            Self::Field => layer.key_source(JsonField::new(FIELD)),
            Self::Either => layer.key_source(JsonField::new(FIELD).header(HeaderKey::new())),
        }
    }

    /// Where a request has its key whose client knows how.
    pub fn plain(self, client: usize) -> Carried {
        match self {
            Self::Header => Carried::Header,
            Self::Either if client % 2 == 0 => Carried::Header,
            Self::Field | Self::Either => Carried::Field,
        }
    }

    pub fn carried(self, chance: &mut Chance, client: usize) -> Carried {
        match (chance.between(0, 29), self) {
            (0..=1, _) => Carried::Nowhere,
            (2, Self::Field | Self::Either) => Carried::Badly,
            (3..=8, Self::Either) => Carried::Both,
            _ => self.plain(client),
        }
    }

    pub fn reads_bodies(self) -> bool {
        self != Self::Header
    }

    /// What is asked for with this key, of two things.
    pub fn payload(self, carried: Carried, key: usize, payload: usize) -> Bytes {
        let field = match (self, carried) {
            (Self::Header, _) => return Bytes::from(format!("pay {payload} to k{key}")),
            (_, Carried::Header) => String::new(),
            (_, Carried::Field | Carried::Both) => format!("\"{FIELD}\":\"k{key}\","),
            (_, Carried::Nowhere) => format!("\"{FIELD}\":null,"),
            (Self::Field, Carried::Badly) => format!("\"{FIELD}\":7,"),
            (Self::Either, Carried::Badly) => format!("\"{FIELD}\":\"x\","),
        };
        Bytes::from(format!("{{{field}\"pay\":{payload},\"to\":\"k{key}\"}}"))
    }

    /// The head of a request.
    pub fn head(self, carried: Carried, key: usize) -> request::Builder {
        let mut head = Request::post("/");
        if self.reads_bodies() {
            head = head.header("content-type", "application/json");
        }
        match (self, carried) {
            (_, Carried::Header | Carried::Both) | (Self::Either, Carried::Badly) => {
                head.header("idempotency-key", format!("k{key}"))
            }
            _ => head,
        }
    }

    fn fingerprint(self, key: usize, payload: usize) -> Fingerprint {
        let head = self.head(Carried::Header, key);
        let (parts, ()) = head.body(()).unwrap().into_parts();
        let mut state = match self {
            Self::Header => FingerprintState::exact(&parts),
            Self::Field | Self::Either => JsonFingerprint::new().begin(&parts),
        };
        state.update(&self.payload(Carried::Header, key, payload));
        state.finish()
    }

    /// Which of the two things a fingerprint is of.
    pub fn payload_of(self, key: usize, fingerprint: Fingerprint) -> usize {
        let is = |payload: &usize| self.fingerprint(key, *payload) == fingerprint;
        (0..2).find(is).unwrap()
    }
}
