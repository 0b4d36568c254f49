//! TLS of the servers of this process: one configuration, and a certificate that is exchanged while they serve.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// What handshakes present: nothing, and so they fail, until there is a first certificate.
#[derive(Default)]
pub struct Certificate(ArcSwapOption<CertifiedKey>);

impl Certificate {
    /// Whether there is one; readiness waits for it.
    pub fn is_loaded(&self) -> bool {
        self.0.load().is_some()
    }

    /// The one of new connections.
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    /// Gives new connections another one.
    pub fn exchange(&self, newest: Arc<CertifiedKey>) {
        self.0.store(Some(newest));
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate(loaded: {})", self.is_loaded())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

/// Accepts TLS 1.2 and 1.3 with `certificate`, for HTTP/2 and HTTP/1.1. Fails when the crypto provider can do neither.
pub fn acceptor(certificate: Arc<Certificate>) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A chain with the key of its first certificate. Fails when they do not belong together.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (one, other) = (made(), made());
        let key = |of: &rcgen::KeyPair| PrivateKeyDer::try_from(of.serialize_der()).unwrap();
        let chain = || vec![one.cert.der().clone()];
        assert!(certified_key(chain(), key(&one.signing_key)).is_ok());
        assert!(certified_key(chain(), key(&other.signing_key)).is_err());
        assert!(certified_key(Vec::new(), key(&one.signing_key)).is_err());
    }

    #[test]
    fn there_is_none_until_the_first() {
        let certificate = Certificate::default();
        assert!(!certificate.is_loaded() && certificate.current().is_none());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        certificate.exchange(certified_key(vec![made.cert.der().clone()], key).unwrap());
        assert!(certificate.is_loaded());
    }
}
