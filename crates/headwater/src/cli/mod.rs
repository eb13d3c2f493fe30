//! The command line: one file per verb. Data goes to standard output, talk to standard error.
pub mod serve;
