//! Memory in use.

/// Anonymous resident bytes: heap and stacks, not mapped files.
pub(crate) fn anonymous_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("RssAnon"));
    let kilobytes: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap()
        .parse()
        .unwrap();
    kilobytes * 1024
}
