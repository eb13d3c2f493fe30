//! Logs, as text for people or as JSON lines for programs.
