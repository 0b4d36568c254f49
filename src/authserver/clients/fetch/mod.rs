//! Fetches documents from addresses that strangers name, without becoming their tool (SSRF): over TLS only, from the
//! very address that was checked, without redirects, proxies, cookies and credentials, in little time and space.

mod address;
mod limits;
#[cfg(test)]
mod tests;
mod url;

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use ::url::Host;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use self::limits::Limits;
pub(crate) use self::url::{HttpsUrl, UrlError};
use crate::{registry::OrgId, settings::ClientDocuments};

/// How long one document may take, from the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long one address may take to answer, so that another can be tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How many addresses of a host are considered; a name with more is refused, as not all were checked.
const MAX_ADDRESSES: usize = 32;
/// The longest response head. What is read ahead of it is bounded by the same.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Why a document cannot be had. The words are for people who look at their own client; none tells a stranger what is
/// inside the network, so a name that is not known and one of an address in there have the same. The log tells them
/// apart by [`FetchError::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    /// The host has no address, or its name server does not answer.
    #[error("its host has no public address")]
    Resolve,
    /// An address of the host is not one of the public internet.
    #[error("its host has no public address")]
    SpecialUse,
    /// Nobody accepts a connection, or no certificate of it is trusted.
    #[error("its host does not answer over TLS with a certificate that is trusted")]
    Connect,
    /// It takes too long.
    #[error("its host takes too long to answer")]
    Timeout,
    /// The answer breaks off, or is no HTTP.
    #[error("its host does not answer as HTTP/1.1 says")]
    Broken,
    /// Another status than 200; redirects are not followed.
    #[error("its host answers with status {0} instead of 200")]
    Status(u16),
    /// Not `application/json` or `application/*+json`.
    #[error("it is not sent as application/json")]
    ContentType,
    /// Compressed.
    #[error("it is sent with a Content-Encoding")]
    Encoding,
    /// Longer than accepted.
    #[error("it is too long")]
    TooLarge,
    /// The configured CA bundle cannot be used.
    #[error("the configured caBundle is not a list of PEM certificates")]
    CaBundle,
}

impl FetchError {
    /// A stable word for logs and metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Resolve => "fetch_resolve",
            Self::SpecialUse => "fetch_special_use",
            Self::Connect => "fetch_connect",
            Self::Timeout => "fetch_timeout",
            Self::Broken => "fetch_broken",
            Self::Status(_) => "fetch_status",
            Self::ContentType => "fetch_content_type",
            Self::Encoding => "fetch_encoding",
            Self::TooLarge => "fetch_too_large",
            Self::CaBundle => "fetch_ca_bundle",
        }
    }

    /// Whether it may be over in a moment, whatever its host says of the document. An address that is not public counts:
    /// told apart from a host without address, it would say which names the network inside knows.
    pub(crate) fn is_passing(self) -> bool {
        match self {
            Self::Resolve | Self::SpecialUse | Self::Connect | Self::Timeout | Self::Broken | Self::CaBundle => true,
            Self::Status(status) => matches!(status, 408 | 429 | 500..),
            Self::ContentType | Self::Encoding | Self::TooLarge => false,
        }
    }

    /// Whether it says nothing about the document: its host, or what is between, does not work as it should.
    pub(super) fn is_outage(self) -> bool {
        self.is_passing() && !matches!(self, Self::SpecialUse | Self::CaBundle)
    }
}

/// A document as it was sent.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Bytes,
    /// How long its author lets it be kept (RFC 9111 §5.2.2), where it says.
    pub(super) max_age: Option<Duration>,
}

/// The addresses of a host name.
type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Looks up host names, which end in a dot.
pub(super) trait Resolve: Send + Sync {
    fn resolve<'a>(&'a self, host: &'a str) -> Addresses<'a>;
}

/// The system's resolver.
struct System;

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str) -> Addresses<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip()).collect()) })
    }
}

/// Fetches documents.
#[derive(Clone)]
pub(super) struct Fetcher {
    resolver: Arc<dyn Resolve>,
    limits: Arc<Limits>,
    timeout: Duration,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self { resolver: Arc::new(System), limits: Arc::default(), timeout: TIMEOUT }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

impl Fetcher {
    /// One that looks names up elsewhere.
    #[cfg(test)]
    pub(super) fn resolving(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..Self::default() }
    }

    /// Whether `url` may be fetched for `org` now; `known`: it gave something good before, or somebody vouches for it.
    pub(super) fn may_ask(&self, org: &OrgId, url: &HttpsUrl, known: bool) -> bool {
        self.limits.allow(org, url, known, std::time::Instant::now())
    }

    /// The document at `url`, of at most `max_bytes`. Of `settings` only the allowed ranges and the CA bundle count.
    pub(super) async fn get(
        &self,
        url: &HttpsUrl,
        max_bytes: usize,
        settings: &ClientDocuments,
    ) -> Result<Fetched, FetchError> {
        timeout(self.timeout, self.exchange(url, max_bytes, settings)).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn exchange(
        &self,
        url: &HttpsUrl,
        max_bytes: usize,
        settings: &ClientDocuments,
    ) -> Result<Fetched, FetchError> {
        let tls = TlsConnector::from(Arc::new(tls(&settings.ca_bundle)?));
        let addresses = self.addresses(url, settings).await?;
        let name = ServerName::try_from(url.host_str().trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|_| FetchError::Resolve)?;
        let stream = connect(&addresses, url.port()).await?;
        let stream = tls.connect(name, stream).await.map_err(|_| FetchError::Connect)?;
        let (mut sender, driver) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| FetchError::Broken)?;
        // Its errors reach whoever waits for the response; it ends with this call.
        let _driver = AbortOnDrop(tokio::spawn(driver).abort_handle());
        let response = sender.send_request(request(url)?).await.map_err(|_| FetchError::Broken)?;
        check(response.status(), response.headers())?;
        let max_age = max_age(response.headers());
        match Limited::new(response.into_body(), max_bytes).collect().await {
            Ok(body) => Ok(Fetched { body: body.to_bytes(), max_age }),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
            Err(_) => Err(FetchError::Broken),
        }
    }

    /// The addresses of the host, each of them checked: whoever answers with one that is not public is not trusted with
    /// the others.
    async fn addresses(&self, url: &HttpsUrl, settings: &ClientDocuments) -> Result<Vec<IpAddr>, FetchError> {
        let addresses = match url.host() {
            Host::Ipv4(address) => vec![address.into()],
            Host::Ipv6(address) => vec![address.into()],
            Host::Domain(name) => self.resolver.resolve(&absolute(name)).await.map_err(|_| FetchError::Resolve)?,
        };
        if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            return Err(FetchError::Resolve);
        }
        let fine = addresses.iter().all(|address| address::may_connect(*address, &settings.allowed_cidrs));
        if fine { Ok(addresses) } else { Err(FetchError::SpecialUse) }
    }
}

/// A name with its last dot (RFC 1034 §3.1), so that no search domain is tried: in a pod, the Service `app` of a
/// namespace `example` would else answer for `app.example`.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

/// Connects to the first address that answers.
async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, FetchError> {
    for address in addresses {
        let until = Instant::now() + CONNECT_TIMEOUT;
        if let Ok(Ok(stream)) = timeout_at(until, TcpStream::connect(SocketAddr::new(*address, port))).await {
            return Ok(stream);
        }
    }
    Err(FetchError::Connect)
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request(url: &HttpsUrl) -> Result<Request<Empty<Bytes>>, FetchError> {
    Request::get(url.target())
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, concat!("lumoauth/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| FetchError::Broken)
}

fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), FetchError> {
    if status != StatusCode::OK {
        return Err(FetchError::Status(status.as_u16()));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(FetchError::Encoding);
    }
    if is_json(headers) { Ok(()) } else { Err(FetchError::ContentType) }
}

/// One Content-Type, `application/json` or `application/<something>+json` (RFC 6839 §3.1).
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let essence = one.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(subtype) = essence.strip_prefix("application/") else { return false };
    subtype == "json" || subtype.strip_suffix("+json").is_some_and(|kind| !kind.is_empty())
}

/// `max-age`, or zero where the response shall not be kept. Of several, the least.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    let directives = values.flat_map(|value| value.split(',')).map(|directive| directive.trim().to_ascii_lowercase());
    directives
        .filter_map(|directive| match directive.split_once('=') {
            Some(("max-age", seconds)) => seconds.trim_matches('"').parse().ok(),
            _ if directive == "no-store" || directive == "no-cache" => Some(0),
            _ => None,
        })
        .min()
        .map(Duration::from_secs)
}

/// TLS with the public roots and those of the bundle, its provider named so that nothing depends on a process-wide
/// default.
fn tls(ca_bundle: &str) -> Result<ClientConfig, FetchError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(ca_bundle.as_bytes()) {
        roots.add(certificate.map_err(|_| FetchError::CaBundle)?).map_err(|_| FetchError::CaBundle)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.map_err(|_| FetchError::Connect)?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
