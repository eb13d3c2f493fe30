//! What tests are made with: images, databases, other users.

pub(crate) mod archives;
pub(crate) mod behind;
pub(crate) mod gpg;
pub(crate) mod images;
pub(crate) mod other_user;
pub(crate) mod postgres;
pub(crate) mod trees;
