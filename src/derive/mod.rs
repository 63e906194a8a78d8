//! Keys from content: the same parts make the same key, on every machine and after every
//! restart.
//!
//! A random key has to be kept somewhere until its operation is known to have ended. A
//! derived key is made again from what the operation is about, so a client that crashed, a
//! job that is run again, or a message that is delivered twice finds its key by itself.
//!
//! ```
//! use http::Method;
//! use tower_idempotency::derive::Derivation;
//!
//! let invoice = b"invoice 2041, May";
//! let key = Derivation::v1()
//!     .scope("tenant-42")
//!     .method(&Method::POST)
//!     .path("/v1/charges")
//!     .part(invoice)
//!     .short();
//! assert_eq!(key.as_str().len(), "ik_".len() + 32);
//! ```
//!
//! # When a derived key is wrong
//!
//! * **Two intended operations with equal content are one.** Whoever orders the same coffee
//!   twice is charged once. Add a part that tells them apart, such as an order number, or use
//!   a random key.
//! * **A retry that wants a fresh result gets the old one.** Asking a model the same question
//!   again for another answer, or trying again after a recorded refusal ("card declined",
//!   then a new limit), needs another key: add the number of the try as a part.
//! * **Content that changes between attempts makes another key, and a second operation.**
//!   Leave out timestamps, trace ids and whatever else belongs to the attempt.
//! * **A key is a digest, not a secret.** Whoever can guess the content can check the guess.
//!
//! # What is fixed
//!
//! The keys of [`Derivation::v1`] never change. Another way to derive them will have another
//! name.

pub mod compat;
mod derivation;
mod form;
mod json;
mod window;

pub use self::derivation::Derivation;
#[cfg(feature = "client")]
pub(crate) use self::form::uuid as uuid_key;
