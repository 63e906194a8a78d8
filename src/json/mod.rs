//! JSON by meaning, read as it arrives.
//!
//! A [`Scanner`] turns a JSON text into its one shortest spelling: no white space, numbers
//! and strings spelled in one way only, members in the order of their names. Two texts mean
//! the same exactly if they come out the same. There is no tree of values: what is spelled
//! shortest already, as most of what programs send, is copied in long runs. A short object
//! whose members are out of order is put in order when it ends; of a long one only the order
//! is noted, and followed at the end, so that no byte is moved far more than once, however
//! deep it stands.

mod escape;
mod frame;
mod media_type;
mod members;
mod number;
mod reordered;
mod scanner;
mod selection;

pub(crate) use self::{
    media_type::MediaType,
    scanner::{Scanner, Unfit},
    selection::Selection,
};
