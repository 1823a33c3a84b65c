//! What the crate's tests share.

/// How many cases a property test runs: `NARTHEX_PROPTEST_CASES`, or `default`.
pub(crate) fn proptest_cases(default: u32) -> u32 {
    std::env::var("NARTHEX_PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(default)
}
