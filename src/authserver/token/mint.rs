//! Step 6: the token (RFC 9068 §2.2) and the response (RFC 6749 §5.1).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{Refused, client::Authenticated, resource::Audience};
use crate::authserver::org::Org;

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    /// A client that acts for itself is its own subject (RFC 9068 §2.2).
    sub: &'a str,
    client_id: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}

#[derive(Serialize)]
struct Response<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}

/// An issued token.
pub(super) struct Minted {
    /// `jti`.
    pub(super) id: String,
    /// The body to send.
    pub(super) response: Vec<u8>,
}

/// Signs a token for `audience`.
pub(super) fn mint(
    org: &Org,
    authenticated: &Authenticated<'_>,
    audience: &Audience,
    scope: &str,
) -> Result<Minted, Refused> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| Refused::Signing)?;
    let id = URL_SAFE_NO_PAD.encode(random);
    let lifetime = audience.lifetime();
    let claims = Claims {
        iss: org.issuer.as_str(),
        aud: audience.identifier(),
        sub: authenticated.id.as_str(),
        client_id: authenticated.id.as_str(),
        iat: org.now.0,
        exp: org.now.plus(lifetime).0,
        jti: &id,
        scope,
    };
    let token = org.authority.ring.current(org.now).sign(&claims).map_err(|_| Refused::Signing)?;
    let response = Response { access_token: &token, token_type: "Bearer", expires_in: lifetime, scope };
    let response = serde_json::to_vec(&response).map_err(|_| Refused::Signing)?;
    Ok(Minted { id, response })
}
