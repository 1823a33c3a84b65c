//! How much memory this process may use, and how many series that is.
//!
//! The budget is the least of the machine's `MemTotal` and the limits of the control groups that the
//! process is in, version 1 or 2. It is read once, at the start.

use std::path::Path;

/// One series is allowed for so many bytes of the budget, by default.
///
/// A series that is scraped takes at most about 650 bytes in the store and about 350 in the scraper,
/// which keeps its line of the newest body: 1 KiB. The other half of the budget is for queries
/// ([`query_bytes`]), for what is sealed and merged, and for the files that the kernel keeps in memory. So 1 GiB allows 524,288
/// series.
const BYTES_PER_SERIES: u64 = 2048;

/// A budget that is smaller than any sensible one still allows so many.
const SERIES_MIN: u64 = 10_000;

/// More bytes of answers are not kept, however much memory there is.
const CACHE_BYTES_MAX: u64 = 64 << 20;

/// The most series there may be when the command line does not say; `None` when the system does not
/// tell how much memory there is.
pub(super) fn default_series_max() -> Option<u64> {
    budget_bytes(Path::new("/")).map(series_max)
}

/// The bytes that all queries of the HTTP API may hold together: a quarter of the budget. Those of rules have
/// half as many of their own, so that a dashboard does not keep an alert from being evaluated.
pub(super) fn query_bytes() -> u64 {
    budget_bytes(Path::new("/")).map_or(u64::MAX, |budget_bytes| budget_bytes / 4)
}

/// The bytes of the answers of range queries that are kept for later ones: a 64th of the budget, but no more than
/// [`CACHE_BYTES_MAX`].
pub(super) fn query_cache_bytes() -> u64 {
    budget_bytes(Path::new("/")).map_or(CACHE_BYTES_MAX, cache_bytes)
}

fn cache_bytes(budget_bytes: u64) -> u64 {
    (budget_bytes / 64).min(CACHE_BYTES_MAX)
}

fn series_max(budget_bytes: u64) -> u64 {
    (budget_bytes / BYTES_PER_SERIES).max(SERIES_MIN)
}

/// `root` is `/` but in tests.
fn budget_bytes(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").and_then(|text| mem_total(&text));
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        // `hierarchy:controllers:path`; version 2 has no controllers here.
        let mut fields = line.splitn(3, ':');
        let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        let (folder, file) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            return None;
        };
        // A limit of any group above holds too. In a container the path may be the host's, and the
        // group's own folder is then the top one, which is always looked at.
        let above = Path::new(group.trim_start_matches('/')).ancestors();
        let limits = above.filter_map(|group| {
            let path = root.join(folder).join(group).join(file);
            let text = std::fs::read_to_string(path).ok()?;
            // `max` in version 2 is no limit.
            text.trim().parse::<u64>().ok()
        });
        limits.min()
    });
    limits.chain(machine).min()
}

/// `MemTotal` in bytes.
fn mem_total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        8000000 kB\nMemFree:          100 kB\n";

    fn budget(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        budget_bytes(root.path())
    }

    #[test]
    fn the_budget_is_the_least_of_the_machines_and_the_groups() {
        let machine = ("proc/meminfo", MEMINFO);
        let second = ("proc/self/cgroup", "0::/a/b\n");
        let first = (
            "proc/self/cgroup",
            "12:cpu,cpuacct:/x\n5:hugetlb,memory:/a/b\n1:name=systemd:/y\n0::/\n",
        );
        for (files, expected) in [
            (vec![], None),
            (vec![machine], Some(8_192_000_000)),
            (vec![machine, second], Some(8_192_000_000)),
            (
                vec![machine, second, ("sys/fs/cgroup/a/b/memory.max", "max\n")],
                Some(8_192_000_000),
            ),
            (
                vec![
                    machine,
                    second,
                    ("sys/fs/cgroup/a/b/memory.max", "2000000\n"),
                    ("sys/fs/cgroup/a/memory.max", "1000000\n"),
                ],
                Some(1_000_000),
            ),
            // In a container that sees its own group as the top.
            (
                vec![machine, second, ("sys/fs/cgroup/memory.max", "3000000\n")],
                Some(3_000_000),
            ),
            (
                vec![
                    machine,
                    first,
                    (
                        "sys/fs/cgroup/memory/memory.limit_in_bytes",
                        "9223372036854771712\n",
                    ),
                ],
                Some(8_192_000_000),
            ),
            (
                vec![
                    machine,
                    first,
                    (
                        "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                        "4000000\n",
                    ),
                ],
                Some(4_000_000),
            ),
        ] {
            assert_eq!(budget(&files), expected, "{files:?}");
        }
    }

    #[test]
    fn a_gibibyte_is_half_a_million_series() {
        assert_eq!(series_max(1 << 30), 524_288);
        assert_eq!(series_max(1 << 20), SERIES_MIN);
    }

    #[test]
    fn answers_are_kept_in_a_sixty_fourth_of_the_memory() {
        assert_eq!(cache_bytes(1 << 30), 16 << 20);
        assert_eq!(cache_bytes(64 << 30), 64 << 20);
    }
}
