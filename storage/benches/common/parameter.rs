//! Parameters come from the environment.

use std::{fmt::Debug, str::FromStr};

/// The variable's value, or `default` when it is not set.
pub(crate) fn parameter<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|error| panic!("{name}={text} cannot be read: {error:?}")),
        Err(_) => default,
    }
}
