//! Days of the Gregorian calendar, which counts at all times, in UTC.
//!
//! Eras of 400 years have 146,097 days; years are counted from March, so that the leap day is the last.
//!
//! Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

/// Days from 1 March of the year 0, where an era begins, to 1970-01-01.
const EPOCH_DAY: i64 = 719_468;
const ERA_DAYS: i64 = 146_097;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// The year; the year before 1 is 0.
    pub year: i64,
    /// The month, 1 to 12.
    pub month: i64,
    /// The day of the month, 1 to 31.
    pub day: i64,
}

impl Date {
    /// The date so many days after 1970-01-01, at most 2^60 before or after.
    pub const fn from_days(days: i64) -> Self {
        let days = days + EPOCH_DAY;
        let era = days.div_euclid(ERA_DAYS);
        let day_of_era = days.rem_euclid(ERA_DAYS);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        Self {
            year: year_of_era + era * 400 + (month <= 2) as i64,
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        }
    }

    /// The days from 1970-01-01 to it; of years up to 2^51 before or after.
    pub const fn to_days(self) -> i64 {
        let year = self.year - (self.month <= 2) as i64;
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (self.month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * ERA_DAYS + day_of_era - EPOCH_DAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every day of six eras against a calendar that goes on day by day.
    #[test]
    fn dates_are_those_of_a_calendar() {
        let mut date = Date {
            year: -1,
            month: 1,
            day: 1,
        };
        let mut days = date.to_days();
        let mut epoch = None;
        while date.year < 2400 {
            assert_eq!(Date::from_days(days), date);
            assert_eq!(date.to_days(), days);
            if (date.year, date.month, date.day) == (1970, 1, 1) {
                epoch = Some(days);
            }
            let is_leap = date.year % 4 == 0 && (date.year % 100 != 0 || date.year % 400 == 0);
            let length = match date.month {
                2 if is_leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            date.day += 1;
            if date.day > length {
                (date.month, date.day) = (date.month + 1, 1);
            }
            if date.month > 12 {
                (date.year, date.month) = (date.year + 1, 1);
            }
            days += 1;
        }
        assert_eq!(epoch, Some(0));
    }
}
