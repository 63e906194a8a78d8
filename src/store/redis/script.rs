//! The verbs as scripts: one round trip each.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use redis::{Cmd, Pipeline, RedisError, ServerError, ServerErrorKind, Value};

use super::{
    fault::{NotARecord, Unexpected, refused},
    packing,
};
use crate::{
    record::Record,
    store::{Fence, StoreError},
};

/// One verb, run by the server in one step.
pub(super) struct Script {
    source: &'static str,
    hash: LazyLock<String>,
}

macro_rules! scripts {
    ($($name:ident: $($file:literal)+,)+) => {$(
        pub(super) static $name: Script = Script {
            source: concat!($(include_str!($file)),+),
            hash: LazyLock::new(|| redis::Script::new($name.source).get_hash().to_owned()),
        };
    )+};
}

scripts! {
    CLAIM: "lua/record.lua" "lua/claim.lua",
    COMPLETE: "lua/record.lua" "lua/complete.lua",
    RELEASE: "lua/record.lua" "lua/release.lua",
    RENEW: "lua/record.lua" "lua/renew.lua",
    WATCH: "lua/record.lua" "lua/watch.lua",
    LOOK: "lua/record.lua" "lua/look.lua",
    FORGET: "lua/record.lua" "lua/forget.lua",
    RESOLVE: "lua/record.lua" "lua/resolve.lua",
    DROP: "lua/drop.lua",
}

/// A script with its arguments, and what else goes along in the same round trip.
pub(super) struct Call<'a> {
    pub(super) script: &'static Script,
    pub(super) key: &'a str,
    pub(super) arguments: &'a [&'a [u8]],
    /// Waits until so many replicas have it.
    pub(super) replicas: Option<Replicas>,
    /// Brings the value that stands there afterwards.
    pub(super) brings_value: bool,
}

/// How many replicas must have a write, and how long that may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replicas {
    pub(super) wanted: u32,
    pub(super) patience: Duration,
}

/// How a script is named to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// By its hash.
    Hash,
    /// By its text, for a server that has not seen it, or has forgotten it.
    Text,
}

/// Whether the server asked has a slot, or is only getting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Settled,
    Importing,
}

impl Call<'_> {
    pub(super) fn commands(&self, form: Form, owner: Owner) -> Pipeline {
        let mut commands = Pipeline::with_capacity(6);
        let mut add = |command: Cmd| {
            // It counts for one command only.
            if owner == Owner::Importing {
                commands.cmd("ASKING");
            }
            commands.add_command(command);
        };
        add(self.evaluation(form));
        if let Some(replicas) = self.replicas {
            let mut wait = redis::cmd("WAIT");
            let millis = u64::try_from(replicas.patience.as_millis()).unwrap_or(u64::MAX);
            wait.arg(replicas.wanted).arg(millis);
            add(wait);
        }
        if self.brings_value {
            let mut get = Cmd::with_capacity(4, self.key.len() + 11);
            get.arg(b"GETRANGE").arg(self.key).arg(b"0").arg(b"-1");
            add(get);
        }
        commands
    }

    fn evaluation(&self, form: Form) -> Cmd {
        let bytes: usize = self.arguments.iter().map(|argument| argument.len()).sum();
        let (name, script) = match form {
            Form::Hash => ("EVALSHA", &**self.script.hash),
            Form::Text => ("EVAL", self.script.source),
        };
        let size = name.len() + script.len() + self.key.len() + bytes + 1;
        let mut evaluation = Cmd::with_capacity(self.arguments.len() + 4, size);
        evaluation.arg(name).arg(script).arg(1).arg(self.key);
        for argument in self.arguments {
            evaluation.arg(*argument);
        }
        evaluation
    }

    /// Reads the replies to [`commands`](Self::commands).
    pub(super) fn reply(&self, replies: Vec<Value>) -> Result<Reply, StoreError> {
        let mut replies = replies.into_iter();
        let mut next = || {
            replies
                .next()
                .ok_or_else(|| StoreError::unknown(Unexpected))
        };
        let answer = Answer::read(next()?)?;
        let confirmed = match self.replicas {
            Some(_) => Some(confirmed(next()?)?),
            None => None,
        };
        let value = match self.brings_value {
            true => bytes(next()?),
            false => Bytes::new(),
        };
        Ok(Reply {
            answer,
            confirmed,
            value,
        })
    }
}

/// What came back in one round trip.
pub(super) struct Reply {
    pub(super) answer: Answer,
    /// How many replicas have it.
    pub(super) confirmed: Option<u64>,
    /// What stands there; empty if nothing, or if it could not be brought.
    pub(super) value: Bytes,
}

impl Reply {
    /// The record that stands there; `None` if there is none, or if the key has changed
    /// since the script ran.
    pub(super) fn into_record(self) -> Result<Option<Record>, StoreError> {
        match self.answer {
            Answer::Completed { fence, .. } => packing::record(self.value, fence),
            _ => Ok(None),
        }
    }
}

/// What a script says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Acquired { fence: Fence, attempt: u32 },
    Completed { fence: Fence, remaining: Duration },
    InFlight { fence: Fence, remaining: Duration },
    Mismatch,
    Unknown,
    Applied,
    AlreadyApplied,
    Absent,
    Changed,
    Over,
}

impl Answer {
    fn read(value: Value) -> Result<Self, StoreError> {
        let items = match value {
            Value::Array(items) => items,
            Value::ServerError(error) => return Err(refused(error)),
            _ => return Err(StoreError::unknown(Unexpected)),
        };
        let number = |i: usize| items.get(i).and_then(whole).unwrap_or_default();
        let fence = Fence::new(number(1));
        let remaining = Duration::from_micros(number(2));
        let Some(Value::BulkString(word)) = items.first() else {
            return Err(StoreError::unknown(Unexpected));
        };
        Ok(match word.as_slice() {
            b"acquired" => Self::Acquired {
                fence,
                attempt: u32::try_from(number(2)).unwrap_or(u32::MAX),
            },
            b"completed" => Self::Completed { fence, remaining },
            b"in flight" => Self::InFlight { fence, remaining },
            b"mismatch" => Self::Mismatch,
            b"unknown" => Self::Unknown,
            b"applied" => Self::Applied,
            b"already applied" => Self::AlreadyApplied,
            b"absent" => Self::Absent,
            b"changed" => Self::Changed,
            b"over" => Self::Over,
            b"corrupt" => return Err(StoreError::corrupt(NotARecord)),
            _ => return Err(StoreError::unknown(Unexpected)),
        })
    }
}

/// The error of the server that the script itself got.
pub(super) fn error(replies: &[Value]) -> Option<&ServerError> {
    match replies.first() {
        Some(Value::ServerError(error)) => Some(error),
        _ => None,
    }
}

/// Whether the server does not know the script.
pub(super) fn is_unknown_script(replies: &[Value]) -> bool {
    error(replies).is_some_and(|error| error.kind() == Some(ServerErrorKind::NoScript))
}

/// How many replicas confirmed. Whatever else the server says, the script did run.
fn confirmed(value: Value) -> Result<u64, StoreError> {
    match value {
        Value::ServerError(error) => Err(StoreError::unknown(RedisError::from(error))),
        value => whole(&value).ok_or_else(|| StoreError::unknown(Unexpected)),
    }
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn bytes(value: Value) -> Bytes {
    match value {
        Value::BulkString(bytes) => bytes.into(),
        _ => Bytes::new(),
    }
}
