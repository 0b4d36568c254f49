//! Whether the authorization server publishes the metadata we expect, asked of it at its in-cluster address.

use std::{
    collections::HashMap,
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::time::Instant;

use super::validate::Publication;
use crate::registry::ObjectKey;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The largest document that is read, in bytes.
const MAX_DOCUMENT: usize = 256 * 1024;
/// How long an equal document is believed.
const BELIEVED: Duration = Duration::from_mins(5);
/// The first pause after any other answer; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How many times in a row the server may be unreachable before an earlier equal answer counts no more: as long as
/// its Pods take to be replaced.
const FORGIVEN: u32 = 3;
/// The longest time during which a server that could not be reached is not asked, for whichever McpServer: reconciles
/// that wait for it hold up those that write.
const LONGEST_AWAY: Duration = Duration::from_secs(5);

/// What the authorization server publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The document we expect, byte for byte.
    Equal,
    /// Another document, or an error.
    Different(String),
    /// It could not be asked.
    Unreachable(String),
    /// It publishes nothing for this server.
    Nothing,
}

struct Answered {
    publication: Publication,
    verdict: Published,
    at: Instant,
    /// How many times in a row the answer was another than equal.
    failures: u32,
}

/// An authorization server that could not be reached.
struct Away {
    until: Instant,
    why: String,
    /// How many times in a row.
    times: u32,
}

/// The last answers, by server, and the authorization servers that are away, by origin.
#[derive(Clone, Default)]
pub(super) struct Publications {
    answers: Arc<Mutex<HashMap<ObjectKey, Answered>>>,
    away: Arc<Mutex<HashMap<String, Away>>>,
}

impl Publications {
    /// What is published for `key`, asked now or lately; and when it should be looked at again.
    pub(super) async fn check(&self, key: &ObjectKey, publication: Option<&Publication>) -> (Published, Duration) {
        let Some(publication) = publication else {
            self.forget(key);
            return (Published::Nothing, BELIEVED);
        };
        let before = {
            let answers = self.lock();
            let same = answers.get(key).filter(|answered| answered.publication == *publication);
            same.map(|answered| (answered.verdict.clone(), answered.at, answered.failures))
        };
        if let Some((verdict, at, failures)) = &before {
            let left = pause(*failures).saturating_sub(at.elapsed());
            if !left.is_zero() {
                return (verdict.clone(), left);
            }
        }
        let origin = origin(&publication.url);
        if let Some((why, left)) = self.is_away(&origin) {
            return (before.map_or(Published::Unreachable(why), |(verdict, ..)| verdict), left);
        }
        let answer = fetch(publication).await;
        self.reached(origin, &answer);
        let failures = before.as_ref().map_or(0, |(_, _, failures)| *failures);
        let (verdict, failures) = judge(before.as_ref().map(|(verdict, ..)| verdict), failures, answer);
        let answered =
            Answered { publication: publication.clone(), verdict: verdict.clone(), at: Instant::now(), failures };
        self.lock().insert(key.clone(), answered);
        (verdict, pause(failures))
    }

    /// The server is gone.
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.lock().remove(key);
    }

    /// Why the server at `origin` is not asked now, and for how long.
    fn is_away(&self, origin: &str) -> Option<(String, Duration)> {
        let away = self.away();
        let known = away.get(origin)?;
        let left = known.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| (known.why.clone(), left))
    }

    fn reached(&self, origin: String, answer: &Published) {
        let mut away = self.away();
        let Published::Unreachable(why) = answer else {
            away.remove(&origin);
            return;
        };
        let now = Instant::now();
        let known = away.entry(origin).or_insert_with(|| Away { until: now, why: String::new(), times: 0 });
        // Of several that asked together the first counts.
        if known.until <= now {
            known.times = known.times.saturating_add(1);
            known.until = now + pause(known.times).min(LONGEST_AWAY);
            known.why.clone_from(why);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Answered>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self) -> std::sync::MutexGuard<'_, HashMap<String, Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scheme and authority of `url`.
fn origin(url: &str) -> String {
    let end = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
    url.get(..end).unwrap_or(url).to_owned()
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 => BELIEVED,
        failures => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST_PAUSE),
    }
}

/// What holds after `answer`: a server that is briefly away still publishes what it did.
fn judge(before: Option<&Published>, failures: u32, answer: Published) -> (Published, u32) {
    match answer {
        Published::Equal => (Published::Equal, 0),
        Published::Unreachable(_) if before == Some(&Published::Equal) && failures < FORGIVEN => {
            (Published::Equal, failures + 1)
        }
        other => (other, failures.saturating_add(1)),
    }
}

async fn fetch(publication: &Publication) -> Published {
    match tokio::time::timeout(TIMEOUT, ask(publication)).await {
        Ok(Ok(published)) => published,
        Ok(Err(error)) => Published::Unreachable(error),
        Err(_) => Published::Unreachable(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn ask(publication: &Publication) -> Result<Published, String> {
    let tls = tls(publication.ca_bundle.as_deref()).map_err(|error| error.to_string())?;
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let request = Request::get(&publication.url).body(Empty::new()).map_err(|error| error.to_string())?;
    let answer = client
        .request(request)
        .await
        .map_err(|error| error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_DOCUMENT).collect().await.map_err(|error| error.to_string())?.to_bytes();
    let json = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    Ok(match (head.status, body == publication.document.as_bytes()) {
        (StatusCode::OK, true) if json => Published::Equal,
        (StatusCode::OK, true) => Published::Different("the document, but not as application/json".to_owned()),
        (StatusCode::OK, false) => Published::Different("another document".to_owned()),
        (status, _) => Published::Different(format!("status {}", status.as_u16())),
    })
}

fn tls(ca_bundle: Option<&str>) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let Some(bundle) = ca_bundle else { return Ok(config.with_webpki_roots().with_no_client_auth()) };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests;
