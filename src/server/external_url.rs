//! `--web.external-url` and `--web.route-prefix`.

use anyhow::{Context, Result, bail};
use url::Url;

/// The URL under which users reach the server, its path without a slash at the end.
///
/// Without a flag it is the machine's name and the first listening port, as in Prometheus.
///
/// # Errors
/// When the flag is not a URL; in Prometheus's words.
pub(crate) fn external_url(flag: &str, host_name: &str, port: u16) -> Result<Url> {
    if flag.starts_with(['"', '\'']) || flag.ends_with(['"', '\'']) {
        bail!("parse external URL {flag:?}: URL must not begin or end with quotes");
    }
    let text = if flag.is_empty() {
        format!("http://{host_name}:{port}/")
    } else {
        flag.to_owned()
    };
    // A bare path is allowed: it only sets the prefix.
    let mut url = match Url::parse(&text) {
        Err(url::ParseError::RelativeUrlWithoutBase) if text.starts_with('/') => {
            Url::parse(&format!("http://{host_name}:{port}{text}"))
        }
        other => other,
    }
    .with_context(|| format!("parse external URL {flag:?}"))?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// What stands before every path: empty, or `/` and words without a slash at the end.
pub(crate) fn route_prefix(flag: &str, external_url: &Url) -> String {
    let prefix = if flag.is_empty() {
        external_url.path()
    } else {
        flag
    };
    match prefix.trim_matches('/') {
        "" => String::new(),
        words => format!("/{words}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_follow_from_the_url_unless_they_are_given() {
        for (url, flag, expected) in [
            ("", "", ""),
            ("", "/x/y/", "/x/y"),
            ("http://h/prom/", "", "/prom"),
            ("http://h/prom/", "/", ""),
            ("/only/path", "", "/only/path"),
            ("https://h:1", "p", "/p"),
        ] {
            let parsed = external_url(url, "machine", 9090).unwrap();
            assert_eq!(route_prefix(flag, &parsed), expected, "{url} {flag}");
        }
        assert_eq!(
            external_url("", "machine", 9090).unwrap().as_str(),
            "http://machine:9090/"
        );
        assert_eq!(
            external_url("http://h/prom/", "m", 1).unwrap().as_str(),
            "http://h/prom"
        );
        assert_eq!(
            external_url("'http://h'", "m", 1).unwrap_err().to_string(),
            "parse external URL \"'http://h'\": URL must not begin or end with quotes"
        );
    }
}
