//! Asks an issuer for a document: bounded in size, never over a connection that somebody else could answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT, ETAG, IF_NONE_MATCH},
};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder as ConnectorBuilder, builderstates::WantsSchemes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::time::timeout;

/// How long a connection is kept for the next question.
const IDLE: Duration = Duration::from_secs(30);

/// Why a document cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Neither `https` nor plain `http` to this machine.
    #[error("the address must be https, or http on loopback")]
    Insecure,
    /// The CA bundle holds no usable certificate.
    #[error("caBundle is not a list of PEM certificates")]
    CaBundle,
    /// The TLS library refused its settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// No answer in time.
    #[error("no answer")]
    Unreachable,
    /// Another status than 200; redirects are not followed.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// Larger than was asked for, or broken off.
    #[error("the answer is too large, or broke off")]
    Body,
}

/// Where a document is.
#[derive(Clone, Debug)]
pub(crate) struct Address(Uri);

impl Address {
    /// An `https` URL, or plain `http` to this machine.
    pub(crate) fn parse(uri: &str) -> Result<Self, FetchError> {
        let uri: Uri = uri.parse().map_err(|_| FetchError::Insecure)?;
        let safe = uri.scheme_str() == Some("https") || uri.host().is_some_and(is_loopback);
        if safe { Ok(Self(uri)) } else { Err(FetchError::Insecure) }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) address: &'a Address,
    pub(crate) media_types: &'static str,
    /// The version that is held already (RFC 9110 §13.1.2).
    pub(crate) unless: Option<&'a HeaderValue>,
    pub(crate) max_bytes: usize,
    pub(crate) within: Duration,
}

/// What was answered.
pub(crate) enum Answer {
    /// A document, and what names this version of it.
    Document(Bytes, Option<HeaderValue>),
    /// The version that is held is the newest.
    Unchanged,
}

/// Asks those whom one CA bundle vouches for.
pub(crate) struct Fetcher(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Fetcher {
    /// `connections` are kept per host for the next question.
    pub(crate) fn new(ca_bundle: Option<&str>, connections: usize) -> Result<Self, FetchError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let connector = tls(ca_bundle)?.https_or_http().enable_http1().wrap_connector(http);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_max_idle_per_host(connections).pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
        Ok(Self(client.build(connector)))
    }

    pub(crate) async fn get(&self, wanted: &Wanted<'_>) -> Result<Answer, FetchError> {
        timeout(wanted.within, self.ask(wanted)).await.unwrap_or(Err(FetchError::Unreachable))
    }

    async fn ask(&self, wanted: &Wanted<'_>) -> Result<Answer, FetchError> {
        let mut request = Request::get(wanted.address.0.clone()).header(ACCEPT, wanted.media_types);
        if let Some(held) = wanted.unless {
            request = request.header(IF_NONE_MATCH, held);
        }
        let request = request.body(Empty::new()).map_err(|_| FetchError::Unreachable)?;
        let response = self.0.request(request).await.map_err(|_| FetchError::Unreachable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if wanted.unless.is_some() => return Ok(Answer::Unchanged),
            other => return Err(FetchError::Status(other)),
        }
        let version = response.headers().get(ETAG).cloned();
        let body = Limited::new(response.into_body(), wanted.max_bytes).collect().await;
        Ok(Answer::Document(body.map_err(|_| FetchError::Body)?.to_bytes(), version))
    }
}

/// TLS with its provider named, so that nothing depends on a process-wide default. Without a bundle, Mozilla's roots.
fn tls(ca_bundle: Option<&str>) -> Result<ConnectorBuilder<WantsSchemes>, FetchError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = ConnectorBuilder::new();
    let Some(pem) = ca_bundle else { return Ok(builder.with_provider_and_webpki_roots(provider)?) };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_| FetchError::CaBundle)?).map_err(|_| FetchError::CaBundle)?;
    }
    if roots.is_empty() {
        return Err(FetchError::CaBundle);
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(builder.with_tls_config(config))
}
