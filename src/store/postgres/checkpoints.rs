//! What one attempt of an operation leaves for the next.

use bytes::Bytes;

use super::{
    PostgresStore,
    answer::column,
    database::{Contended, ROUNDS},
    verbs::of_lease,
};
use crate::store::{Lease, StoreError};

/// How many bytes all that is saved for one operation may take, in base64 and with the names.
const MOST_BYTES: i32 = 256 * 1024;

/// Why nothing was saved, or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The store does not hold the lease.
    #[error(
        "this store does not hold the lease of the operation: either it was lost, or the layer has another store"
    )]
    NotHeld,
    /// With it, all that is saved for the operation would be more than 256 KiB, in base64 and
    /// with the names.
    #[error("all that is saved for one operation may take 256 KiB in base64, with the names")]
    TooLarge,
    /// The name is not 1 to 255 bytes long, or holds a NUL.
    #[error("the name of a checkpoint has 1 to 255 bytes, and no NUL")]
    InvalidName,
    /// The server did not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PostgresStore {
    /// Saves `bytes` as `name` with the key of an operation, for the next attempt of it: one
    /// that takes it over should this one be lost, or a retry of the same request should this
    /// one release the key, as a 500 does. See [recovery points](super#recovery-points).
    /// Saving under the same name again replaces what was saved.
    ///
    /// Once this returns, it is on the disk, whatever becomes of a transaction of the handler.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`]. If it is [`NotHeld`](CheckpointError::NotHeld), another attempt may
    /// be running: stop.
    pub async fn save<O>(
        &self,
        operation: &O,
        name: &str,
        bytes: impl AsRef<[u8]> + Send + Sync,
    ) -> Result<(), CheckpointError>
    where
        O: AsRef<Lease> + Sync,
    {
        check(name)?;
        let (lease, bytes) = (operation.as_ref(), bytes.as_ref());
        for _ in 0..ROUNDS {
            let saved = self.database().ask(&self.statements().save, |question| {
                of_lease(question, lease)
                    .bind(name)
                    .bind(bytes)
                    .bind(MOST_BYTES)
            });
            let row = saved.await?.ok_or(CheckpointError::NotHeld)?;
            if !column(&row, "fits")? {
                return Err(CheckpointError::TooLarge);
            }
            if column(&row, "saved")? {
                return Ok(());
            }
        }
        Err(StoreError::not_applied(Contended).into())
    }

    /// What this attempt of an operation, or an earlier one that was lost or released the key,
    /// saved as `name`.
    ///
    /// Read it always, not only if [`attempt()`](crate::Idempotency::attempt) is more than 1:
    /// after a release it is 1 again.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub async fn saved<O>(
        &self,
        operation: &O,
        name: &str,
    ) -> Result<Option<Bytes>, CheckpointError>
    where
        O: AsRef<Lease> + Sync,
    {
        check(name)?;
        let lease = operation.as_ref();
        let saved = self.database().ask(&self.statements().saved, |question| {
            of_lease(question, lease).bind(name)
        });
        let row = saved.await?.ok_or(CheckpointError::NotHeld)?;
        let bytes: Option<Vec<u8>> = column(&row, "bytes")?;
        Ok(bytes.map(Bytes::from))
    }
}

fn check(name: &str) -> Result<(), CheckpointError> {
    if (1..=255).contains(&name.len()) && !name.contains('\0') {
        Ok(())
    } else {
        Err(CheckpointError::InvalidName)
    }
}
