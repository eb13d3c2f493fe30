//! What Go's JSON decoder does that others do not.

/// The name by which Go's `encoding/json` finds the field for a key: letters without regard to case, and two letters
/// outside of ASCII that fold to `s` and `k`.
pub(crate) fn fold(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}
