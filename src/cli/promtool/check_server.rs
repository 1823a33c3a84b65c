//! `promtool check healthy` and `check ready`: asks a running server.

use std::{sync::atomic::AtomicBool, time::Duration};

use url::Url;

use super::{Arguments, Output, server::http_client};
use crate::{
    config::{HttpClientConfig, ScrapeConfig},
    scrape::{FetchError, ScrapeClient, ScrapeUrl},
};

/// The server that is asked when none is named.
const DEFAULT_URL: &str = "http://localhost:9090";

/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks `/-/{check}`; 0 when the answer is 200, 1 otherwise.
pub(super) fn run(
    arguments: &Arguments,
    check: &str,
    output: &mut Output<'_>,
) -> Result<u8, String> {
    if let Some(word) = arguments.words().first() {
        return Err(format!("unexpected {word}"));
    }
    let server = arguments.value("url").unwrap_or(DEFAULT_URL);
    let server = if server.contains("://") {
        server.to_owned()
    } else if server.contains(':') {
        return Err(format!(
            "invalid URL: parse {server:?}: first path segment in URL cannot contain colon"
        ));
    } else {
        format!("http://{server}")
    };
    let shown = format!("{server}/-/{check}");
    let url =
        Url::parse(&shown).map_err(|error| format!("invalid URL: parse {server:?}: {error}"))?;
    let http_client = match http_client(arguments) {
        Ok(http_client) => http_client,
        Err(failure) => return failure.finish(output),
    };
    match fetch(http_client, &ScrapeUrl { url, shown }) {
        Ok(body) => {
            output.complain(&format!("  SUCCESS:  {}", body.trim_end()));
            Ok(0)
        }
        Err(message) => {
            output.complain(
                &match message.strip_prefix("server returned HTTP status ") {
                    Some(status) => {
                        let code = status.split(' ').next().unwrap_or_default();
                        format!("check failed: URL={server}, status={code}")
                    }
                    None => message,
                },
            );
            Ok(1)
        }
    }
}

fn fetch(http_client: HttpClientConfig, url: &ScrapeUrl) -> Result<String, String> {
    let job = ScrapeConfig {
        http_client,
        ..ScrapeConfig::new("check")
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let client = ScrapeClient::new(&job).map_err(|error| format!("{error:#}"))?;
        let answer =
            tokio::time::timeout(TIMEOUT, client.get(url, TIMEOUT, &AtomicBool::new(false))).await;
        match answer {
            Ok(Ok(answer)) => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            Ok(Err(FetchError::Failed(message))) => Err(message),
            Ok(Err(FetchError::BodyTooLarge)) => Err("the answer is too large".to_owned()),
            Err(_) => Err(format!("Get \"{}\": context deadline exceeded", url.shown)),
        }
    })
}
