//! The claims of an access token (RFC 9068 §2.2), judged strictly: a claim of another JSON type is not that claim.

use serde_json::{Map, Value};

use super::{
    Expectations, LEEWAY_SECONDS, MAX_LIFETIME_SECONDS, MAX_SUBJECT_BYTES, MAX_TOKEN_ID_BYTES, TokenError,
    status::StatusReference,
};
use crate::{ClientId, IssuerUrl, ScopeSet, UnixTime};

/// What a verified access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// `iss`.
    pub issuer: IssuerUrl,
    /// `sub`: 1 to 256 bytes without control characters.
    pub subject: String,
    /// `client_id`.
    pub client: ClientId,
    /// `scope`; empty when absent.
    pub scopes: ScopeSet,
    /// `exp`.
    pub expires_at: UnixTime,
    /// `iat`.
    pub issued_at: UnixTime,
    /// `jti`, when present.
    pub id: Option<String>,
    /// `status`, when present: where to see whether the token is revoked.
    pub status: Option<StatusReference>,
}

/// 9999-12-31T23:59:59Z: what lies beyond is not a date anyone meant.
const END_OF_TIME: u64 = 253_402_300_799;

pub(super) type Claims = Map<String, Value>;

/// Judges the claims of a token whose signature holds.
pub(super) fn judge(claims: &Claims, expect: &Expectations<'_>, now: UnixTime) -> Result<AccessToken, TokenError> {
    if text(claims, "iss") != Some(expect.issuer.as_str()) {
        return Err(TokenError::WrongIssuer);
    }
    if sole_audience(claims) != Some(expect.audience.as_str()) {
        return Err(TokenError::WrongAudience);
    }
    refuse_other_uses(claims)?;
    let (issued_at, expires_at) = validity(claims, now)?;
    Ok(AccessToken {
        issuer: expect.issuer.clone(),
        subject: text(claims, "sub")
            .filter(|sub| is_plain(sub, MAX_SUBJECT_BYTES))
            .ok_or(TokenError::Subject)?
            .to_owned(),
        client: text(claims, "client_id").and_then(|id| ClientId::parse(id).ok()).ok_or(TokenError::Client)?,
        scopes: scopes(claims)?,
        expires_at,
        issued_at,
        id: token_id(claims)?,
        status: StatusReference::of(claims)?,
    })
}

/// A claim that is a string.
pub(super) fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

pub(super) fn is_plain(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// `aud` (RFC 7519 §4.1.3), if it names exactly one audience: a token good in two places can be replayed from one to
/// the other.
pub(super) fn sole_audience(claims: &Claims) -> Option<&str> {
    match claims.get("aud")? {
        Value::String(audience) => Some(audience),
        Value::Array(audiences) => match audiences.as_slice() {
            [Value::String(audience)] => Some(audience),
            _ => None,
        },
        _ => None,
    }
}

/// Tokens that are something other than a bearer access token.
fn refuse_other_uses(claims: &Claims) -> Result<(), TokenError> {
    // OpenID Connect Core §2: only ID tokens carry these.
    if claims.contains_key("nonce") || claims.contains_key("at_hash") {
        return Err(TokenError::IdToken);
    }
    // RFC 7800 §3: to accept it without the proof would undo the binding.
    if claims.contains_key("cnf") {
        return Err(TokenError::SenderConstrained);
    }
    Ok(())
}

/// `iat` and `exp`, if the token is valid at `now`.
fn validity(claims: &Claims, now: UnixTime) -> Result<(UnixTime, UnixTime), TokenError> {
    let issued_at = date(claims, "iat")?.ok_or(TokenError::Dates)?;
    let expires_at = date(claims, "exp")?.ok_or(TokenError::Dates)?;
    let not_before = date(claims, "nbf")?;
    if expires_at <= issued_at {
        return Err(TokenError::Dates);
    }
    if now >= expires_at.plus(LEEWAY_SECONDS) {
        return Err(TokenError::Expired);
    }
    if issued_at > now.plus(LEEWAY_SECONDS) || not_before.is_some_and(|start| start > now.plus(LEEWAY_SECONDS)) {
        return Err(TokenError::NotYetValid);
    }
    if issued_at.until(expires_at) > MAX_LIFETIME_SECONDS + LEEWAY_SECONDS {
        return Err(TokenError::LifetimeTooLong);
    }
    Ok((issued_at, expires_at))
}

/// A NumericDate in whole seconds; no fraction, sign or exponent.
pub(super) fn date(claims: &Claims, name: &str) -> Result<Option<UnixTime>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) if seconds <= END_OF_TIME => Ok(Some(UnixTime(seconds))),
            _ => Err(TokenError::Dates),
        },
    }
}

fn scopes(claims: &Claims) -> Result<ScopeSet, TokenError> {
    match claims.get("scope") {
        None => Ok(ScopeSet::default()),
        Some(Value::String(list)) => ScopeSet::parse(list).map_err(|_| TokenError::Scope),
        Some(_) => Err(TokenError::Scope),
    }
}

fn token_id(claims: &Claims) -> Result<Option<String>, TokenError> {
    match claims.get("jti") {
        None => Ok(None),
        Some(Value::String(id)) if is_plain(id, MAX_TOKEN_ID_BYTES) => Ok(Some(id.clone())),
        Some(_) => Err(TokenError::TokenId),
    }
}
