//! Images whose files are small. What such an image costs is not its bytes but the ways to where blocking is allowed and back, of which an ordinary one takes
//! five. So the files of these come into memory, and then many images are written, looked into, and got ready in one go.
//!
//! That is for what goes as it should: nothing of the files is here, nobody else gets them, and each comes whole in one answer. All else is
//! left to the ordinary way (`take.rs`).

use std::io::Write as _;
use std::sync::{Arc, Weak};

use sha2::Sha256;
use tokio::sync::OwnedMutexGuard;

use super::take::{Taken, Taking, checked, names};
use super::transfer::SMALL;
use super::{MirrorError, Progress as _, TakeImage, TransferError, Wanted};
use crate::blobs::{Blobs, Complete};
use crate::catalog::GivenProduct;
use crate::publish::Listing;

/// The files of an image, when all of them are small and come from its upstream.
pub(super) fn files(taking: &Taking, image: &TakeImage) -> Option<Vec<Wanted>> {
    let (metadata, root) = image.offer.files()?;
    let is_small = |file: &Wanted| (1..=SMALL).contains(&file.size) && !taking.deltas.contains_key(&file.digest);
    std::iter::once(metadata).chain(root).map(|file| Wanted::listed(file).filter(is_small)).collect()
}

/// An image whose bytes are in memory, whole and right.
pub(super) struct Small {
    listing: Listing,
    files: Vec<File>,
}

struct File {
    wanted: Wanted,
    bytes: Vec<u8>,
    /// Nobody else in this process gets it meanwhile.
    slot: OwnedMutexGuard<Weak<Complete>>,
}

impl Small {
    /// Lets the files of an image come, if that goes as it should.
    ///
    /// # Errors
    /// When they would not come in the ordinary way either.
    pub(super) async fn fetched(
        taking: &Taking,
        product: &GivenProduct,
        image: &TakeImage,
    ) -> Result<Option<Self>, MirrorError> {
        let Some(wanted) = files(taking, image) else { return Ok(None) };
        let mut files = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            // Never waited for: somebody else may wait for what is held here.
            let Some(slot) = taking.transfers.alone(&wanted.digest) else { return Ok(None) };
            files.push(File { wanted, bytes: Vec::new(), slot });
        }
        for file in &mut files {
            match taking.transfers.in_one_answer(&file.wanted, &taking.course.stop).await {
                Ok(Some(bytes)) => file.bytes = bytes,
                Ok(None) => return Ok(None),
                Err(TransferError::Cancelled) => return Err(MirrorError::Stopped),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Self { listing: taking.listing(product, image).await?, files }))
    }

    /// Writes the files and makes the image ready; `None` when something is in the way. Blocks.
    pub(super) fn finish(mut self, taking: &Taking, image: &TakeImage) -> Option<Result<Taken, MirrorError>> {
        let (mut complete, mut both): (Vec<Arc<Complete>>, _) = (Vec::with_capacity(self.files.len()), None);
        for file in &mut self.files {
            let one = file.write(&taking.publisher.blobs, complete.first().map(|first| first.hasher()))?;
            *file.slot = Arc::downgrade(&one);
            taking.told.came(file.wanted.size);
            both = one.also();
            complete.push(one);
        }
        Some(taking.made(names(image), complete, both, self.listing).and_then(|taken| checked(image, taken)))
    }
}

impl File {
    fn write(&mut self, blobs: &Blobs, also: Option<Sha256>) -> Option<Arc<Complete>> {
        let mut partial = blobs.partial_if_new(&self.wanted.digest, self.wanted.size).ok()??;
        if let Some(also) = also {
            partial = partial.through(also);
        }
        partial.write_all(&std::mem::take(&mut self.bytes)).ok()?;
        Some(Arc::new(partial.complete().ok()?))
    }
}
