//! Notes what the layer says has happened.

use std::sync::{Arc, Mutex};

use tower_idempotency::{Event, Observer};

#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    /// All events so far, by name and cause, without the calls of the store.
    pub fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, name: &str) -> usize {
        self.seen().iter().filter(|seen| *seen == name).count()
    }
}

impl Observer for Events {
    fn observe(&self, event: &Event<'_>) {
        let name = match event {
            Event::StoreCalled { .. } => return,
            Event::Released { cause, .. } | Event::Sealed { cause, .. } => {
                format!("{}:{}", event.name(), cause.as_str())
            }
            Event::StoreFailed { verb, .. } => format!("{}:{}", event.name(), verb.as_str()),
            _ => event.name().to_owned(),
        };
        self.0.lock().unwrap().push(name);
    }
}
