//! The CA as a signer of leaves.

use std::{fmt, net::IpAddr, time::Duration};

use lumoauth_core::UnixTime;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Certificate, PkiError};

/// How long a leaf holds: 30 days, of which 20 are used.
pub const LEAF_LIFETIME: u64 = 30 * 86_400;
/// How far before its making a certificate begins to hold, for peers whose clock is late.
const BACKDATE: u64 = 3_600;

/// A certificate and its key.
pub(super) struct Ca {
    pub(super) certificate: Certificate,
    pub(super) key_pem: String,
}

impl Ca {
    /// Makes a CA that holds for `lifetime` seconds from `now`. Its name says when it was made, so that two CAs in one
    /// bundle are told apart by people too.
    pub(super) fn generate(now: UnixTime, lifetime: u64) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = params(now, now.plus(lifetime));
        params.distinguished_name.push(DnType::CommonName, format!("LumoAuth CA {}", now.0));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate: Certificate::parse(&pem, "tls.crt")?, key_pem: key.serialize_pem() })
    }

    /// Reads a CA and proves that key and certificate belong together.
    pub(super) fn parse(certificate: &str, key: &str) -> Result<Self, PkiError> {
        let certificate = Certificate::parse(certificate, "tls.crt")?;
        if !certificate.is_ca {
            return Err(PkiError::NotCa("tls.crt"));
        }
        let pair = KeyPair::from_pem(key).map_err(|_| PkiError::Key("tls.key"))?;
        if pair.subject_public_key_info() != certificate.public_key() {
            return Err(PkiError::Key("tls.key"));
        }
        Ok(Self { certificate, key_pem: key.to_owned() })
    }

    /// The signer of leaves, with the bundle that who trusts it is given.
    pub(super) fn authority(&self, bundle: String) -> Result<Authority, PkiError> {
        let key = KeyPair::from_pem(&self.key_pem).map_err(|_| PkiError::Key("tls.key"))?;
        let issuer = Issuer::from_ca_cert_der(self.certificate.der(), key)?;
        Ok(Authority { certificate: self.certificate.clone(), issuer, bundle })
    }
}

/// Signs leaves. Immutable: a rotation makes another one.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    bundle: String,
}

impl Authority {
    /// Reads the content of Secret `lumoauth-ca`.
    pub fn parse(data: &std::collections::BTreeMap<String, Vec<u8>>) -> Result<Self, PkiError> {
        super::CaState::parse(data)?.authority()
    }

    /// The certificate that signs.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// PEM of every CA that must be trusted now: the next, the current, and earlier ones whose leaves still hold.
    pub fn bundle_pem(&self) -> &str {
        &self.bundle
    }

    /// Signs a server certificate for `names` (DNS names or IP addresses) with a new key, valid from a while before
    /// `now` for [`LEAF_LIFETIME`], and never longer than the CA.
    pub fn leaf(&self, names: &[&str], now: UnixTime) -> Result<Leaf, PkiError> {
        let key = KeyPair::generate()?;
        let until = now.plus(LEAF_LIFETIME).min(self.certificate.not_after);
        let mut params = params(now, until);
        params.subject_alt_names =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?.subject_alt_names;
        if let Some(first) = names.first() {
            params.distinguished_name.push(DnType::CommonName, *first);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Leaf { certificate: Certificate::parse(&pem, "tls.crt")?, key })
    }

    /// Whether a stored leaf still serves: signed by the current CA, for exactly these DNS names, with its own key, and
    /// not due to be renewed.
    pub fn accepts(&self, certificate_pem: &str, key_pem: &str, names: &[&str], now: UnixTime) -> bool {
        let (Ok(leaf), Ok(key)) = (Certificate::parse(certificate_pem, "tls.crt"), KeyPair::from_pem(key_pem)) else {
            return false;
        };
        let mut wanted: Vec<_> = names.iter().copied().filter(|name| name.parse::<IpAddr>().is_err()).collect();
        wanted.sort_unstable();
        leaf.names == wanted
            && leaf.is_signed_by(&self.certificate)
            && key.subject_public_key_info() == leaf.public_key()
            && now < leaf.renew_at()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.certificate.fingerprint())
    }
}

/// A server certificate and its key.
pub struct Leaf {
    /// The certificate; it needs no intermediate one.
    pub certificate: Certificate,
    key: KeyPair,
}

impl Leaf {
    /// The private key in PEM (PKCS#8).
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Certificate chain and private key, as rustls takes them.
    pub fn into_der(self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        (vec![self.certificate.der().clone()], PrivateKeyDer::from(key))
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaf({})", self.certificate.fingerprint())
    }
}

fn params(now: UnixTime, until: UnixTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    let at = |time: UnixTime| date_time_ymd(1970, 1, 1) + Duration::from_secs(time.0);
    params.not_before = at(now.minus(BACKDATE));
    params.not_after = at(until);
    params.distinguished_name = DistinguishedName::new();
    params
}
