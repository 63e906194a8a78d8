//! Keys as other libraries derive them, for services that keep such keys already.
//!
//! For new ones use [`Derivation`](super::Derivation): these have the weaknesses of what they
//! reproduce.

pub mod agentidemp;
