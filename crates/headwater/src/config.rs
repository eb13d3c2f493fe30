//! The settings of one installation: defaults, then a TOML file, then `HEADWATER_…` variables, then flags.
