//! Who is asking, and what they may see.
//!
//! For example, a request without credentials becomes [`Viewer::guest`], and the person at the command line, who can
//! read the database anyway, is [`Viewer::operator`]. Every read of the catalog takes a [`Viewer`], so that a read
//! that forgot to ask is hard to type.
//!
//! This room knows nothing of HTTP headers or SQL.

mod viewer;

pub use viewer::Viewer;
