//! TLS towards a target: authorities, client certificate, versions, the expected name.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, bail};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use crate::config::{TlsConfig, TlsVersion};

/// The TLS client that a configuration asks for. Files are read now.
///
/// # Errors
/// A file that cannot be read, or that holds no certificate or key; versions that exclude all that
/// are supported (1.2 and 1.3).
pub(super) fn client_config(config: &TlsConfig) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let lowest = config.min_version.unwrap_or(TlsVersion::Tls12);
    let highest = config.max_version.unwrap_or(TlsVersion::Tls13);
    let mut versions = Vec::new();
    for (version, supported) in [
        (TlsVersion::Tls12, &rustls::version::TLS12),
        (TlsVersion::Tls13, &rustls::version::TLS13),
    ] {
        if lowest <= version && version <= highest {
            versions.push(supported);
        }
    }
    if versions.is_empty() {
        bail!("tls_config: only TLS12 and TLS13 are supported");
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)?;
    let builder = if config.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(config)?)
    };
    let Some(certificate) = pem(&config.cert, config.cert_file.as_ref(), "cert_file")? else {
        return Ok(builder.with_no_client_auth());
    };
    let key = pem(config.key.expose(), config.key_file.as_ref(), "key_file")?
        .context("tls_config: a client certificate needs its key (key_file)")?;
    let chain = CertificateDer::pem_slice_iter(&certificate)
        .collect::<Result<Vec<_>, _>>()
        .context("tls_config: read the client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&key).context("tls_config: read the client key")?;
    builder
        .with_client_auth_cert(chain, key)
        .context("tls_config: use the client certificate")
}

/// The name to expect in the server's certificate, when it is not the address's.
///
/// # Errors
/// It is no name.
pub(super) fn server_name(config: &TlsConfig) -> anyhow::Result<Option<ServerName<'static>>> {
    if config.server_name.is_empty() {
        return Ok(None);
    }
    let name = ServerName::try_from(config.server_name.clone())
        .with_context(|| format!("tls_config: server_name \"{}\"", config.server_name))?;
    Ok(Some(name))
}

fn roots(config: &TlsConfig) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match pem(&config.ca, config.ca_file.as_ref(), "ca_file")? {
        Some(authorities) => {
            for certificate in CertificateDer::pem_slice_iter(&authorities) {
                roots.add(certificate.context("tls_config: read the certificate authorities")?)?;
            }
            if roots.is_empty() {
                bail!("tls_config: no certificate in the certificate authorities (ca_file)");
            }
        }
        None => {
            // A machine without authorities can scrape over plain HTTP; HTTPS then says what fails.
            static NATIVE: OnceLock<RootCertStore> = OnceLock::new();
            let native = NATIVE.get_or_init(|| {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            });
            return Ok(native.clone());
        }
    }
    Ok(roots)
}

fn pem(text: &str, file: Option<&PathBuf>, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
    match file {
        Some(file) => {
            let bytes = std::fs::read(file)
                .with_context(|| format!("tls_config: read {key} {}", file.display()))?;
            Ok(Some(bytes))
        }
        None if text.is_empty() => Ok(None),
        None => Ok(Some(text.as_bytes().to_vec())),
    }
}

/// A TLS failure in Go's words where it has some.
pub(super) fn describe(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(problem) => {
            let problem = match problem {
                CertificateError::UnknownIssuer => {
                    "x509: certificate signed by unknown authority".to_owned()
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "x509: certificate has expired or is not yet valid".to_owned()
                }
                other => format!("x509: {other}"),
            };
            format!("tls: failed to verify certificate: {problem}")
        }
        rustls::Error::InvalidMessage(_) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        rustls::Error::AlertReceived(alert) => {
            format!("remote error: tls: {}", describe_alert(*alert))
        }
        other => format!("tls: {other}"),
    }
}

/// An alert of the server as Go names it.
fn describe_alert(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::CloseNotify => "close notify",
        AlertDescription::UnexpectedMessage => "unexpected message",
        AlertDescription::BadRecordMac => "bad record MAC",
        AlertDescription::RecordOverflow => "record overflow",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::IllegalParameter => "illegal parameter",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecodeError => "error decoding message",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InsufficientSecurity => "insufficient security level",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UserCanceled => "user canceled",
        AlertDescription::MissingExtension => "missing extension",
        AlertDescription::UnsupportedExtension => "unsupported extension",
        AlertDescription::UnrecognisedName => "unrecognized name",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({})", u8::from(other)),
    };
    words.to_owned()
}

/// Accepts every certificate (`insecure_skip_verify`); signatures are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
