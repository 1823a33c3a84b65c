//! `prometheus.yml`: what is accepted prints as a configuration that is accepted and prints the same again.

use std::path::Path;

use narthex::config::{Config, ConfigError, load};

fn read(bytes: &[u8]) -> Result<Config, ConfigError> {
    load(bytes, Path::new("/etc/prometheus.yml"), &|_| None)
}

fn reprint(printed: &str) -> String {
    match read(printed.as_bytes()) {
        Ok(config) => config.to_yaml(),
        Err(error) => panic!("{error}\nin what was printed:\n{printed}"),
    }
}

pub(super) fn check(bytes: &[u8]) -> bool {
    match read(bytes) {
        Ok(config) => {
            // A null may print as nothing, which stands for the default; from then on nothing changes.
            let once = reprint(&config.to_yaml());
            assert_eq!(reprint(&once), once);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
