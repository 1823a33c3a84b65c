//! Calendar functions: fields of a time in UTC.

use narthex_storage::Date;

use super::FunctionId;

/// The fields that a function can ask for.
pub(crate) fn field(id: FunctionId) -> Option<fn(f64) -> f64> {
    Some(match id {
        FunctionId::Minute => |seconds| ((whole(seconds).rem_euclid(3600)) / 60) as f64,
        FunctionId::Hour => |seconds| ((whole(seconds).rem_euclid(86_400)) / 3600) as f64,
        FunctionId::DayOfWeek => |seconds| (days(seconds) + 4).rem_euclid(7) as f64,
        FunctionId::DayOfMonth => |seconds| date(seconds).day as f64,
        FunctionId::DayOfYear => |seconds| {
            let january = first_day(date(seconds).year, 1);
            (days(seconds) - january + 1) as f64
        },
        FunctionId::DaysInMonth => |seconds| {
            let Date { year, month, .. } = date(seconds);
            let day_32 = i128::from(first_day(year, month) + 31);
            let next = in_calendar(day_32 * 86_400).div_euclid(86_400);
            (32 - Date::from_days(next as i64).day) as f64
        },
        FunctionId::Month => |seconds| date(seconds).month as f64,
        FunctionId::Year => |seconds| date(seconds).year as f64,
        _ => return None,
    })
}

/// Whole seconds, the fraction cut off; what is no number of 64 bits counts as the least of them.
fn whole(seconds: f64) -> i128 {
    const END: f64 = (1_u64 << 63) as f64;
    in_calendar(if seconds.is_nan() || seconds.abs() >= END {
        i128::from(i64::MIN)
    } else {
        seconds as i128
    })
}

/// What lies before the calendar's first second is counted from its end, and what lies behind it from its first.
///
/// **Source**: the answers of Prometheus 3.5.3, whose calendar has 2^64 seconds.
fn in_calendar(seconds: i128) -> i128 {
    /// 1 March of the year -292277022400.
    const FIRST: i128 = -9_223_372_028_741_760_000;
    (seconds - FIRST).rem_euclid(1 << 64) + FIRST
}

/// Whole days since the epoch.
fn days(seconds: f64) -> i64 {
    whole(seconds).div_euclid(86_400) as i64
}

fn date(seconds: f64) -> Date {
    Date::from_days(days(seconds))
}

/// Whole seconds since the epoch as `2026-11-21T08:30:00Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let Date { year, month, day } = Date::from_days(seconds.div_euclid(86_400));
    let clock = seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

/// The first day of a month, in days since the epoch.
const fn first_day(year: i64, month: i64) -> i64 {
    let day = 1;
    Date { year, month, day }.to_days()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_known_times() {
        let all = |seconds: f64| {
            [
                FunctionId::Year,
                FunctionId::Month,
                FunctionId::DayOfMonth,
                FunctionId::Hour,
                FunctionId::Minute,
                FunctionId::DayOfWeek,
                FunctionId::DayOfYear,
                FunctionId::DaysInMonth,
            ]
            .map(|id| field(id).unwrap()(seconds))
        };
        // 1970-01-01 was a Thursday.
        assert_eq!(all(0.0), [1970.0, 1.0, 1.0, 0.0, 0.0, 4.0, 1.0, 31.0]);
        // 2024-02-29T23:59:30Z, a Thursday.
        assert_eq!(
            all(1_709_251_170.0),
            [2024.0, 2.0, 29.0, 23.0, 59.0, 4.0, 60.0, 29.0]
        );
        // Beyond the calendar, as Prometheus 3.5.3 answers.
        for seconds in [f64::NAN, f64::INFINITY, -1e300] {
            assert_eq!(
                all(seconds),
                [292277026596.0, 12.0, 4.0, 15.0, 30.0, 0.0, 339.0, 31.0]
            );
        }
        // Where the calendar begins, and the number before, from the same.
        assert_eq!(
            all(-9_223_372_028_741_760_000.0),
            [-292277022400.0, 3.0, 1.0, 0.0, 0.0, 3.0, 61.0, 31.0]
        );
        assert_eq!(
            all(-9_223_372_028_741_761_024.0),
            [292277026854.0, 1.0, 7.0, 6.0, 43.0, 3.0, 7.0, 7.0]
        );
        // 1969-12-31T23:59:59Z, a Wednesday.
        assert_eq!(
            all(-1.0),
            [1969.0, 12.0, 31.0, 23.0, 59.0, 3.0, 365.0, 31.0]
        );
    }
}
