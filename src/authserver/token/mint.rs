//! The token (RFC 9068 §2.2) and the response (RFC 6749 §5.1).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lumoauth_core::{ClientId, ScopeSet};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Refused, resource::Audience};
use crate::authserver::{
    artefact::{Artefact, random},
    org::Org,
    status,
    store::StatusIndex,
};

/// What a token is to say.
pub(super) struct Order<'a> {
    pub(super) subject: &'a str,
    pub(super) client: &'a ClientId,
    pub(super) audience: &'a Audience,
    pub(super) scope: &'a ScopeSet,
    pub(super) status: StatusIndex,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    client_id: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    status: Status<'a>,
}

/// draft-ietf-oauth-status-list, section 6.2.
#[derive(Serialize)]
struct Status<'a> {
    status_list: Reference<'a>,
}

#[derive(Serialize)]
struct Reference<'a> {
    idx: u32,
    uri: &'a str,
}

#[derive(Serialize)]
struct Response<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

/// A signed token.
pub(super) struct Minted {
    /// `jti`.
    pub(super) id: String,
    /// `scope`.
    pub(super) scope: String,
    token: Zeroizing<String>,
    lifetime: u64,
}

/// Signs a token.
pub(super) fn mint(org: &Org, order: &Order<'_>) -> Result<Minted, Refused> {
    let id = URL_SAFE_NO_PAD.encode(random::<16>().map_err(|_| Refused::Minting)?);
    let lifetime = order.audience.lifetime();
    let (scope, uri) = (order.scope.to_string(), status::uri(org, order.status.list));
    let claims = Claims {
        iss: org.issuer.as_str(),
        aud: order.audience.identifier(),
        sub: order.subject,
        client_id: order.client.as_str(),
        iat: org.now.0,
        exp: org.now.plus(lifetime).0,
        jti: &id,
        scope: &scope,
        status: Status { status_list: Reference { idx: order.status.index, uri: &uri } },
    };
    let token = org.authority.ring.current(org.now).sign(&claims).map_err(|_| Refused::Minting)?;
    Ok(Minted { id, scope, token: Zeroizing::new(token), lifetime })
}

impl Minted {
    /// The body to send.
    pub(super) fn response(&self, refresh_token: Option<&Artefact>) -> Result<Vec<u8>, Refused> {
        let response = Response {
            access_token: &self.token,
            token_type: "Bearer",
            expires_in: self.lifetime,
            scope: &self.scope,
            refresh_token: refresh_token.map(Artefact::text),
        };
        serde_json::to_vec(&response).map_err(|_| Refused::Minting)
    }
}
