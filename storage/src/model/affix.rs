//! What texts begin and end with, where that is mostly nothing.
//!
//! An empty `String` points to no memory. The C library compares short texts by loads under a mask, and where
//! the place that it must not read is not mapped such a load of nothing takes an AMD processor 80 to 100 ns, a
//! hundred times what reading would. So nothing is not compared.

/// Whether `text` begins with `prefix`.
pub(crate) fn has_prefix(text: &[u8], prefix: &[u8]) -> bool {
    prefix.is_empty() || text.starts_with(prefix)
}

/// Whether `text` ends with `suffix`.
pub(super) fn has_suffix(text: &[u8], suffix: &[u8]) -> bool {
    suffix.is_empty() || text.ends_with(suffix)
}

/// What follows in `text` on `prefix`; `None` when it does not begin with it.
pub(super) fn strip_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    if prefix.is_empty() {
        return Some(text);
    }
    text.strip_prefix(prefix)
}
