//! What is to be known of a certificate: read from it, never remembered beside it.

use lumoauth_core::{UnixTime, digest};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _, prelude::X509Certificate};

use super::PkiError;

/// A certificate in PEM, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pem: String,
    der: CertificateDer<'static>,
    /// From when it holds.
    pub not_before: UnixTime,
    /// Until when it holds.
    pub not_after: UnixTime,
    /// Its DNS names, sorted.
    pub names: Vec<String>,
    /// Whether it may sign others.
    pub is_ca: bool,
}

impl Certificate {
    /// Reads the first certificate of `pem`; `what` names it in the error.
    pub fn parse(pem: &str, what: &'static str) -> Result<Self, PkiError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| PkiError::Certificate(what))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| PkiError::Certificate(what))?;
        let time = |seconds: i64| UnixTime(u64::try_from(seconds).unwrap_or(0));
        let names = parsed.subject_alternative_name().map_err(|_| PkiError::Certificate(what))?;
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        let mut names: Vec<_> = names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect();
        names.sort();
        let validity = parsed.validity();
        let (not_before, not_after) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
        let is_ca = parsed.is_ca();
        Ok(Self { pem: one_block(pem), der, not_before, not_after, names, is_ca })
    }

    /// PEM, with a newline at its end.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The first 16 hexadecimal digits of its SHA-256: a name for logs and comparisons.
    pub fn fingerprint(&self) -> String {
        let mut text = digest::sha256_hex(&self.der);
        text.truncate(16);
        text
    }

    /// When two thirds of its life are over: the time to renew it.
    pub fn renew_at(&self) -> UnixTime {
        self.not_before.plus(self.not_before.until(self.not_after) / 3 * 2)
    }

    /// Whether its signature is one of `issuer`'s key.
    pub fn is_signed_by(&self, issuer: &Self) -> bool {
        let (Ok((_, leaf)), Ok((_, issuer))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&issuer.der))
        else {
            return false;
        };
        leaf.verify_signature(Some(issuer.public_key())).is_ok()
    }

    /// Its SubjectPublicKeyInfo in DER (RFC 5280 §4.1.2.7).
    pub(super) fn public_key(&self) -> Vec<u8> {
        X509Certificate::from_der(&self.der).map(|(_, parsed)| parsed.public_key().raw.to_vec()).unwrap_or_default()
    }
}

/// The first PEM block of a text, with a newline at its end.
fn one_block(pem: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let end = pem.find(END).map_or(pem.len(), |at| at + END.len());
    let block = pem.get(..end).unwrap_or(pem).trim();
    format!("{block}\n")
}
