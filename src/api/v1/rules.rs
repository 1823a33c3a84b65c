//! Rules, alerts and Alertmanagers: none are evaluated or notified yet, so the lists are empty, in
//! the shapes that clients expect.

use super::{Answer, ApiError, Call, Success, selectors};
use crate::api::{params::parse_integer, quote};

/// `GET /api/v1/rules`
pub(crate) fn rules(call: &Call) -> Answer {
    let params = &call.params;
    params.check_form()?;
    selectors(params)?;
    let kind = params.first("type").to_ascii_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        let problem = format!("not supported value {}", quote(kind.as_bytes()));
        return Err(ApiError::parameter("type", problem));
    }
    let exclude = params.first("exclude_alerts");
    let booleans = [
        "", "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
    ];
    if !booleans.contains(&exclude) {
        let problem = format!(
            "error converting exclude_alerts: strconv.ParseBool: parsing {}: invalid syntax",
            quote(exclude.as_bytes())
        );
        return Err(ApiError::parameter("exclude_alerts", problem));
    }
    let limit = params.first("group_limit");
    if limit.is_empty() {
        if !params.first("group_next_token").is_empty() {
            return Err(ApiError::parameter(
                "group_next_token",
                "group_limit needs to be present in order to paginate over the groups",
            ));
        }
    } else {
        match parse_integer(limit) {
            Ok(1..) => {}
            Ok(_) => {
                return Err(ApiError::parameter(
                    "group_limit",
                    "group_limit needs to be greater than 0",
                ));
            }
            Err(problem) => {
                return Err(ApiError::parameter(
                    "group_limit",
                    format!("group_limit needs to be a valid number: strconv.ParseInt: {problem}"),
                ));
            }
        }
    }
    Ok(Success::of(r#"{"groups":[]}"#))
}

/// `GET /api/v1/alerts`
pub(crate) fn alerts() -> Success {
    Success::of(r#"{"alerts":[]}"#)
}

/// `GET /api/v1/alertmanagers`
pub(crate) fn alertmanagers() -> Success {
    Success::of(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#)
}
