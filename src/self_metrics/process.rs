//! `process_*`, from `/proc`.
//!
//! On a system without `/proc` the values stay zero.

use std::fs;

use super::Registry;

/// `/proc` counts processor time in ticks of 1/100 s on every Linux architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers Prometheus's `process_*` metrics, read anew at each rendering.
pub fn register_process(registry: &Registry) {
    let cpu = registry.counter_gauge(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
    );
    let max_fds = registry.gauge(
        "process_max_fds",
        "Maximum number of open file descriptors.",
    );
    let open_fds = registry.gauge("process_open_fds", "Number of open file descriptors.");
    let resident = registry.gauge(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
    );
    let virtual_memory = registry.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
    );
    let virtual_max = registry.gauge(
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
    );
    let start = registry.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
    );
    let received = registry.counter_gauge(
        "process_network_receive_bytes_total",
        "Number of bytes received by the process over the network.",
    );
    let sent = registry.counter_gauge(
        "process_network_transmit_bytes_total",
        "Number of bytes sent by the process over the network.",
    );
    registry.collect_with(move || {
        if let Some(stat) = read("/proc/self/stat").as_deref().and_then(parse_stat) {
            cpu.set(stat.cpu_seconds);
            let booted = read("/proc/stat").as_deref().and_then(parse_boot_time);
            start.set(booted.unwrap_or(0.0) + stat.start_after_boot_seconds);
        }
        if let Some(status) = read("/proc/self/status") {
            resident.set(kilobytes(&status, "VmRSS:").unwrap_or(0.0));
            virtual_memory.set(kilobytes(&status, "VmSize:").unwrap_or(0.0));
        }
        if let Some(limits) = read("/proc/self/limits") {
            max_fds.set(soft_limit(&limits, "Max open files").unwrap_or(0.0));
            virtual_max.set(soft_limit(&limits, "Max address space").unwrap_or(0.0));
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // The listing itself holds one.
            open_fds.set(entries.count().saturating_sub(1) as f64);
        }
        if let Some((in_octets, out_octets)) = read("/proc/self/net/netstat")
            .as_deref()
            .and_then(parse_octets)
        {
            received.set(in_octets);
            sent.set(out_octets);
        }
    });
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    start_after_boot_seconds: f64,
}

/// Fields 14, 15 and 22 of proc(5)'s `stat`; the second field is a name in parentheses that may hold
/// anything, so counting starts behind the last parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some(Stat {
        cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
        start_after_boot_seconds: ticks(22)? / TICKS_PER_SECOND,
    })
}

fn parse_boot_time(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn kilobytes(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let number: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024.0)
}

/// Prometheus prints "unlimited" as 2^64 - 1.
fn soft_limit(limits: &str, key: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(key))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

/// `InOctets` and `OutOctets` of the pair of `IpExt` lines, names above values.
fn parse_octets(netstat: &str) -> Option<(f64, f64)> {
    let mut lines = netstat
        .lines()
        .filter_map(|line| line.strip_prefix("IpExt: "));
    let names = lines.next()?;
    let values = lines.next()?;
    let value = |wanted: &str| {
        let index = names.split_whitespace().position(|name| name == wanted)?;
        values.split_whitespace().nth(index)?.parse().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_found_where_the_manual_has_them() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 3 0 4242 9 8";
        assert_eq!(
            parse_stat(stat),
            Some(Stat {
                cpu_seconds: 4.0,
                start_after_boot_seconds: 42.42
            })
        );
        assert_eq!(
            parse_boot_time("cpu 1 2\nbtime 1700000000\nx 1\n"),
            Some(1.7e9)
        );
        assert_eq!(
            kilobytes("VmSize:\t 12 kB\nVmRSS:\t  3 kB\n", "VmRSS:"),
            Some(3072.0)
        );
        let limits = "Max open files            1024                 4096                 files\n\
                      Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(
            soft_limit(limits, "Max address space"),
            Some(18446744073709551616.0)
        );
        let netstat = "TcpExt: A B\nTcpExt: 1 2\nIpExt: X InOctets OutOctets\nIpExt: 9 10 11\n";
        assert_eq!(parse_octets(netstat), Some((10.0, 11.0)));
    }
}
