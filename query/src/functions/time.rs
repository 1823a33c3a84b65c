//! Calendar functions: fields of a time in UTC.

use super::FunctionId;

/// The fields that a function can ask for.
pub(crate) fn field(id: FunctionId) -> Option<fn(f64) -> f64> {
    Some(match id {
        FunctionId::Minute => |seconds| ((whole(seconds).rem_euclid(3600)) / 60) as f64,
        FunctionId::Hour => |seconds| ((whole(seconds).rem_euclid(86_400)) / 3600) as f64,
        FunctionId::DayOfWeek => |seconds| (days(seconds) + 4).rem_euclid(7) as f64,
        FunctionId::DayOfMonth => |seconds| date(days(seconds)).2 as f64,
        FunctionId::DayOfYear => |seconds| {
            let day = days(seconds);
            let (year, _, _) = date(day);
            (day - days_before_year(year) + 1) as f64
        },
        FunctionId::DaysInMonth => |seconds| {
            let (year, month, _) = date(days(seconds));
            days_in_month(year, month) as f64
        },
        FunctionId::Month => |seconds| date(days(seconds)).1 as f64,
        FunctionId::Year => |seconds| date(days(seconds)).0 as f64,
        _ => return None,
    })
}

/// Whole seconds, the fraction cut off. What is no number of 64 bits counts as 2^63, in the year
/// 292277026596.
///
/// **Source**: Prometheus 3.5.3, where the conversion overflows.
fn whole(seconds: f64) -> i128 {
    const END: i128 = 1 << 63;
    if seconds.is_nan() || seconds.abs() >= END as f64 {
        END
    } else {
        seconds as i128
    }
}

/// Whole days since the epoch.
fn days(seconds: f64) -> i128 {
    whole(seconds).div_euclid(86_400)
}

/// Year, month (1 to 12) and day (1 to 31) of the Gregorian calendar.
///
/// Eras of 400 years have 146,097 days; years are counted from March, so that the leap day is the
/// last.
fn date(days: i128) -> (i128, i128, i128) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    (year, month, day)
}

/// Whole seconds since the epoch as `2026-11-21T08:30:00Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (year, month, day) = date(i128::from(seconds.div_euclid(86_400)));
    let clock = seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

/// Days from the epoch to the first day of a year.
fn days_before_year(year: i128) -> i128 {
    let past = year - 1;
    past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 719_162
}

fn days_in_month(year: i128, month: i128) -> i128 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i128::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
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
        // 1969-12-31T23:59:59Z, a Wednesday.
        assert_eq!(
            all(-1.0),
            [1969.0, 12.0, 31.0, 23.0, 59.0, 3.0, 365.0, 31.0]
        );
    }
}
