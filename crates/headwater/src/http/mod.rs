//! The web: one port that speaks TLS and plain HTTP, and the front-ends behind it.
