//! The client: URLs, credentials, redirects, compression, TLS and what goes wrong with them.

use std::{
    io::Write as _,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use narthex_storage::Labels;
use tokio::task::JoinHandle;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig, SupportedProtocolVersion,
        pki_types::PrivateKeyDer,
        server::WebPkiClientVerifier,
        version::{TLS12, TLS13},
    },
};

use super::fixture::{Fixture, TEXT};
use crate::{
    config::{Authorization, BasicAuth, HttpHeader, ScrapeConfig, Secret, TargetGroup},
    scrape::{
        client::{Answer, FetchError, ScrapeClient},
        target::{Relabelled, TargetSpec, relabel_group},
    },
};

fn spec(config: &ScrapeConfig, labels: &[(&str, &str)]) -> Result<TargetSpec, String> {
    let group = TargetGroup {
        targets: vec![Labels::from_pairs(labels.iter().copied())],
        ..TargetGroup::default()
    };
    match relabel_group(config, &group).pop() {
        Some(Relabelled::Active(spec)) => Ok(*spec),
        Some(Relabelled::Invalid(problem)) => Err(problem),
        other => panic!("{other:?}"),
    }
}

async fn get(config: &ScrapeConfig, address: &str) -> Result<Answer, String> {
    let client = ScrapeClient::new(config).unwrap();
    let url = spec(config, &[("__address__", address)]).unwrap().url;
    let answer = client
        .get(&url, Duration::from_millis(1500), &AtomicBool::new(false))
        .await;
    answer.map_err(|error| match error {
        FetchError::BodyTooLarge => "too large".to_owned(),
        FetchError::Failed(problem) => problem.replace(address, "T"),
    })
}

#[test]
fn labels_and_parameters_make_the_url() {
    let mut config = ScrapeConfig::new("j");
    config.params.insert(
        "module".to_owned(),
        vec!["a b".to_owned(), "c&d".to_owned()],
    );
    let shown = |config: &ScrapeConfig, labels: &[(&str, &str)]| {
        spec(config, labels).map(|spec| spec.url.shown)
    };
    let address = ("__address__", "127.0.0.1:80");
    assert_eq!(
        shown(&config, &[address]),
        Ok("http://127.0.0.1:80/metrics?module=a+b&module=c%26d".to_owned())
    );
    assert_eq!(
        shown(
            &config,
            &[address, ("__param_module", "x"), ("__scheme__", "https")]
        ),
        Ok("https://127.0.0.1:80/metrics?module=x&module=c%26d".to_owned())
    );
    let config = ScrapeConfig::new("j");
    assert_eq!(
        shown(
            &config,
            &[("__address__", "h"), ("__metrics_path__", "/c?x=y")]
        ),
        Ok("http://h/c%3Fx=y".to_owned())
    );
    for (labels, problem) in [
        (&[("x", "y")][..], "no address"),
        (
            &[("__address__", "http://h")],
            "\"http://h\" is not a valid hostname",
        ),
        (
            &[address, ("__scrape_interval__", "0s")],
            "scrape interval cannot be 0",
        ),
        (
            &[address, ("__scrape_timeout__", "2m")],
            "scrape timeout cannot be greater than scrape interval (\"2m\" > \"1m\")",
        ),
    ] {
        assert_eq!(shown(&config, labels), Err(problem.to_owned()));
    }
    let spec = spec(
        &config,
        &[address, ("__meta_x", "1"), ("__z", "2"), ("x", "y")],
    )
    .unwrap();
    assert_eq!(
        spec.labels.to_string(),
        r#"{instance="127.0.0.1:80", job="j", x="y"}"#
    );
}

#[tokio::test]
async fn failures_read_as_prometheus_shows_them() {
    let target = Fixture::start().await;
    let config = ScrapeConfig::new("j");
    let refused = get(&config, "127.0.0.1:1").await.unwrap_err();
    assert_eq!(
        refused,
        "Get \"http://T/metrics\": dial tcp T: connect: connection refused"
    );
    for (head, body, expected) in [
        (
            "404 Not Found",
            "",
            "server returned HTTP status 404 Not Found",
        ),
        (
            "204 No Content",
            "",
            "server returned HTTP status 204 No Content",
        ),
        ("302 Found", "", "server returned HTTP status 302 Found"),
        (
            "200 OK\r\nContent-Encoding: gzip",
            "a 1\n",
            "unexpected EOF",
        ),
        ("200 OK\r\nContent-Encoding: gzip", "", "EOF"),
        (
            "200 OK\r\nContent-Encoding: gzip",
            "a longer text\n",
            "gzip: invalid header",
        ),
    ] {
        target.answers.answer(head, body);
        assert_eq!(get(&config, &target.address).await.unwrap_err(), expected);
    }
    target.answers.answer("302 Found\r\nLocation: /metrics", "");
    let error = get(&config, &target.address).await.unwrap_err();
    assert_eq!(
        error,
        "Get \"http://T/metrics\": stopped after 10 redirects"
    );
    let mut config = ScrapeConfig::new("j");
    config.http_client.follow_redirects = false;
    let error = get(&config, &target.address).await.unwrap_err();
    assert_eq!(error, "server returned HTTP status 302 Found");
    config.http_client.basic_auth = Some(BasicAuth {
        password_file: Some("/nonexistent".into()),
        ..BasicAuth::default()
    });
    let error = get(&config, &target.address).await.unwrap_err();
    assert_eq!(
        error,
        "Get \"http://T/metrics\": unable to read basic auth password: unable to read file /nonexistent: open /nonexistent: no such file or directory"
    );
}

#[tokio::test]
async fn credentials_go_to_the_target_and_not_to_where_it_redirects() {
    let (target, other) = (Fixture::start().await, Fixture::start().await);
    other.answers.body("a 1\n");
    let location = format!("302 Found\r\nLocation: http://{}/x", other.address);
    target.answers.answer(&location, "");
    let mut config = ScrapeConfig::new("j");
    config.http_client.authorization = Some(Authorization {
        kind: "Bearer".to_owned(),
        credentials: Secret::new("token"),
        credentials_file: None,
    });
    let header = HttpHeader {
        values: vec!["one".to_owned()],
        secrets: vec![Secret::new("two")],
        files: Vec::new(),
    };
    config
        .http_client
        .http_headers
        .insert("X-Tenant".to_owned(), header);
    let answer = get(&config, &target.address).await.unwrap();
    assert_eq!(
        (answer.body.as_slice(), answer.content_type.as_str()),
        (&b"a 1\n"[..], TEXT)
    );
    let (sent, redirected) = (
        target.answers.requests().remove(0),
        other.answers.requests().remove(0),
    );
    for header in [
        "Authorization: Bearer token\r\n",
        "X-Tenant: one\r\n",
        "X-Tenant: two\r\n",
        "X-Prometheus-Scrape-Timeout-Seconds: 1.5\r\n",
    ] {
        assert!(sent.contains(header), "{sent}");
    }
    assert!(redirected.starts_with("GET /x "), "{redirected}");
    assert!(
        !redirected.contains("token") && !redirected.contains("Tenant"),
        "{redirected}"
    );
}

#[tokio::test]
async fn bodies_are_bounded_compressed_or_not() {
    let target = Fixture::start().await;
    let mut config = ScrapeConfig::new("j");
    config.limits.body_size_bytes = 1 << 20;
    let gzip = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let head = format!("200 OK\r\nContent-Encoding: gzip\r\nContent-Type: {TEXT}");
    let small = vec![b'a'; 1 << 20];
    target.answers.answer(&head, gzip(&small));
    assert_eq!(get(&config, &target.address).await.unwrap().body, small);
    let bomb = gzip(&vec![0; 100 << 20]);
    target.answers.answer(&head, &bomb);
    assert_eq!(
        get(&config, &target.address).await.unwrap_err(),
        "too large"
    );
    // A bomb that lies about its size.
    let mut liar = bomb.clone();
    let end = liar.len() - 4;
    liar[end..].copy_from_slice(&1000_u32.to_le_bytes());
    target.answers.answer(&head, liar);
    let error = get(&config, &target.address).await.unwrap_err();
    assert!(error.starts_with("gzip: the size at the end"), "{error}");
    target.answers.body(vec![b'a'; 100 << 20]);
    assert_eq!(
        get(&config, &target.address).await.unwrap_err(),
        "too large"
    );
    config.limits.body_size_bytes = 0;
    assert_eq!(
        get(&config, &target.address).await.unwrap().body.len(),
        100 << 20
    );
}

type Certified = rcgen::CertifiedKey<rcgen::KeyPair>;

fn certificate(name: &str) -> Certified {
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let names = &mut parameters.distinguished_name;
    names.push(rcgen::DnType::CommonName, name);
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let cert = parameters.self_signed(&signing_key).unwrap();
    Certified { cert, signing_key }
}

/// A target for the name `target.example` that answers `a 1`, and asks for `client`'s certificate if
/// there is one.
struct TlsFixture {
    address: String,
    certified: Certified,
    task: JoinHandle<()>,
}

impl Drop for TlsFixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TlsFixture {
    async fn start(version: &'static SupportedProtocolVersion, client: Option<&Certified>) -> Self {
        let certified = certificate("target.example");
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap();
        let builder = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let mut roots = RootCertStore::empty();
                roots.add(client.cert.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let server = builder
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers = Fixture::answers();
        answers.body("a 1\n");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(answers.clone().serve(stream));
                }
            }
        });
        Self {
            address,
            certified,
            task,
        }
    }
}

#[tokio::test]
async fn tls_is_verified_against_the_configured_authority() {
    let target = TlsFixture::start(&TLS13, None).await;
    let (address, certified) = (target.address.clone(), &target.certified);
    let mut config = ScrapeConfig::new("j");
    config.scheme = "https".to_owned();
    let error = get(&config, &address).await.unwrap_err();
    assert_eq!(
        error,
        "Get \"https://T/metrics\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
    config.http_client.tls_config.insecure_skip_verify = true;
    assert_eq!(get(&config, &address).await.unwrap().body, b"a 1\n");
    config.http_client.tls_config.insecure_skip_verify = false;
    config.http_client.tls_config.ca = certified.cert.pem();
    let error = get(&config, &address).await.unwrap_err();
    assert!(
        error.starts_with("Get \"https://T/metrics\": tls: failed to verify certificate: x509: "),
        "{error}"
    );
    config.http_client.tls_config.server_name = "target.example".to_owned();
    assert_eq!(get(&config, &address).await.unwrap().body, b"a 1\n");
}

#[tokio::test]
async fn a_client_certificate_opens_targets_that_demand_one() {
    let (client, stranger) = (certificate("client"), certificate("stranger"));
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    for version in [&TLS12, &TLS13] {
        let target = TlsFixture::start(version, Some(&client)).await;
        let mut config = ScrapeConfig::new("j");
        config.scheme = "https".to_owned();
        config.http_client.tls_config.ca = target.certified.cert.pem();
        config.http_client.tls_config.server_name = "target.example".to_owned();
        assert_eq!(
            get(&config, &target.address).await.unwrap_err(),
            "Get \"https://T/metrics\": remote error: tls: certificate required"
        );
        let mut inline = config.clone();
        inline.http_client.tls_config.cert = client.cert.pem();
        inline.http_client.tls_config.key = Secret::new(client.signing_key.serialize_pem());
        assert_eq!(get(&inline, &target.address).await.unwrap().body, b"a 1\n");
        let tls = &mut config.http_client.tls_config;
        tls.cert_file = write("client.pem", client.cert.pem());
        tls.key_file = write("client.key", client.signing_key.serialize_pem());
        assert_eq!(get(&config, &target.address).await.unwrap().body, b"a 1\n");
        let tls = &mut config.http_client.tls_config;
        tls.cert_file = write("stranger.pem", stranger.cert.pem());
        let error = ScrapeClient::new(&config).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "tls_config: use the client certificate: keys may not be consistent: KeyMismatch"
        );
        let tls = &mut config.http_client.tls_config;
        tls.key_file = write("stranger.key", stranger.signing_key.serialize_pem());
        assert_eq!(
            get(&config, &target.address).await.unwrap_err(),
            "Get \"https://T/metrics\": remote error: tls: unknown certificate authority"
        );
        let tls = &mut config.http_client.tls_config;
        tls.key_file = Some(directory.path().join("none"));
        let error = ScrapeClient::new(&config).unwrap_err();
        assert_eq!(
            format!("{error:#}").replace(directory.path().to_str().unwrap(), "D"),
            "tls_config: read key_file D/none: No such file or directory (os error 2)"
        );
    }
}
