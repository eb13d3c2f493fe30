//! Listing a delta that was built: the bytes first, then the row that names them.

use headwater_formats::image::{FileFormat, ImageFile};
use headwater_formats::timestamp::Timestamp;

use super::sweep::{remover, went};
use super::{PublishError, Publisher, blocking};
use crate::blobs::Staged;
use crate::catalog::ClaimedDelta;
use crate::fail_point;

impl Publisher {
    /// Makes the bytes of a delta durable and lists it in every product that has the pair. It was found right before: nothing is checked here. `None` when
    /// `by` has lost the claim on the pair, or a file of it is not needed any more: then the bytes go at once.
    pub async fn list_delta(
        &self,
        delta: Staged,
        pair: &ClaimedDelta,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<ImageFile>, PublishError> {
        let mut placed = blocking(move || delta.commit()).await?;
        let file = ImageFile { digest: placed.digest(), size: placed.size(), format: FileFormat::Vcdiff };
        fail_point::reached("deltas::before-commit");
        let (target, base) = (&pair.target.digest, &pair.base.digest);
        let listed = self.catalog.list_delta(target, base, &file, by, now, || placed.ensure()).await?;
        fail_point::reached("deltas::after-commit");
        // Not before: as long as this is there, no sweep removes the bytes.
        drop(placed);
        if !listed {
            went(self.catalog.remove_unknown_blob(&file.digest, remover(&self.blobs, file.digest)).await)?;
        }
        Ok(listed.then_some(file))
    }
}
