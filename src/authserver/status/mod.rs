//! Token Status Lists (draft-ietf-oauth-status-list): every access token names a bit, and a set bit revokes it.
//!
//! `allocator` gives bits to tokens, out of blocks that are leased from the store; `lists` keeps what the store says of
//! each list for a second; the endpoint here publishes them.

mod allocator;
mod lists;

use std::{fmt, sync::Arc};

use axum::{
    extract::{RawPathParams, State as Extract},
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use lumoauth_core::{
    ClientId, UnixTime,
    token::{AccessToken, StatusReference, Verified},
};

use self::{allocator::Allocator, lists::Lists};
use super::{
    errors::ApiError,
    org::{Org, OrgError, State},
    store::{StatusIndex, Store, StoreError},
};
use crate::registry::OrgId;

/// How long an answer may be kept by whoever passes it on, in seconds: of the five within which a revoked token has to
/// be refused everywhere.
const MAX_AGE: HeaderValue = HeaderValue::from_static("public, max-age=2");
/// How much later than a request another may have begun whose answer it takes, in seconds. After the clock was set back
/// by as much or less, what is known stays until the clock has caught up.
const AHEAD: u64 = 5;
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/statuslist+jwt");

/// What is known about the status of tokens. Cheap to clone.
#[derive(Clone, Default)]
pub struct Statuses(Arc<Inner>);

#[derive(Default)]
struct Inner {
    allocator: Allocator,
    lists: Lists,
}

impl fmt::Debug for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statuses").finish_non_exhaustive()
    }
}

/// Why a token gets no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoIndex {
    /// The client is disabled.
    Disabled,
    /// The store does not answer.
    Store,
}

impl Statuses {
    /// An index that no other token has, for a token of `client` itself that ends at `expires_at`. Writes nothing,
    /// but for a lease now and then.
    pub(super) async fn index_for_client(
        &self,
        store: &Store,
        org: &OrgId,
        client: &ClientId,
        expires_at: UnixTime,
        now: UnixTime,
    ) -> Result<StatusIndex, NoIndex> {
        self.0.allocator.index(&self.0.lists, store, (org, Some(client)), expires_at, now).await
    }

    /// An index that no other grant has.
    pub(super) async fn index_for_grant(
        &self,
        store: &Store,
        org: &OrgId,
        now: UnixTime,
    ) -> Result<StatusIndex, NoIndex> {
        self.0.allocator.index(&self.0.lists, store, (org, None), now, now).await
    }

    /// Whether tokens with this index are revoked, as of the second in which the request began, or later.
    pub(super) async fn is_revoked(
        &self,
        store: &Store,
        org: &OrgId,
        index: StatusIndex,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let list = self.0.lists.bits(store, org, index.list, now).await?;
        Ok(list.is_none_or(|bits| bits.is_set(index.index)))
    }

    /// Whether a token that was verified is also not revoked. One without a status that we know is none of ours.
    pub(super) async fn is_good(
        &self,
        store: &Store,
        org: &Org,
        token: &Verified<AccessToken>,
    ) -> Result<bool, StoreError> {
        match index_of(org, token) {
            Some(index) => self.is_revoked(store, &org.id, index, org.now).await.map(|revoked| !revoked),
            None => Ok(false),
        }
    }

    /// What is known of this organization is old: something of it was just revoked.
    pub(super) fn forget(&self, org: &OrgId) {
        self.0.lists.forget(org);
    }
}

/// Whether what was asked for by a request that began at `at` is good enough for one that began at `now`: nobody is told
/// what is older than the second in which the request began. Requests overlap, and one that began a second earlier takes
/// what a later one learned; but an answer that is far ahead is from before the clock was set back.
fn is_fresh(at: UnixTime, now: UnixTime) -> bool {
    at >= now && now.until(at) <= AHEAD
}

/// What a token of this organization carries as `status` (section 6.2).
pub(super) fn uri(org: &Org, list: u32) -> String {
    format!("{}{list}", folder(org))
}

fn folder(org: &Org) -> String {
    format!("{}/oauth/status/", org.issuer)
}

/// The index that a token of this organization names; none that we issued is without.
pub(super) fn index_of(org: &Org, token: &AccessToken) -> Option<StatusIndex> {
    token.status.as_ref().and_then(|status| parse(&folder(org), status))
}

fn parse(folder: &str, status: &StatusReference) -> Option<StatusIndex> {
    let list = list_number(status.name_under(folder)?)?;
    Some(StatusIndex { list, index: u32::try_from(status.index).ok()? })
}

/// A list's number in its only spelling.
fn list_number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Answers `GET oauth/status/{list}` (section 8.1).
pub(super) async fn status_list(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    path: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let org = org.map_err(ApiError::unknown_tenant)?;
    let name = path.iter().find_map(|(key, value)| (key == "list").then_some(value)).unwrap_or_default();
    let number = list_number(name).ok_or_else(ApiError::unknown_list)?;
    let lifetime = state.settings.borrow().limits.status_max_age_seconds();
    let document = state.statuses.0.lists.document(&state.store, &org, number, lifetime).await;
    let document = document.map_err(|_| ApiError::unavailable())?.ok_or_else(ApiError::unknown_list)?;
    let caching: [(HeaderName, HeaderValue); 2] = [(CACHE_CONTROL, MAX_AGE), (ETAG, document.etag.clone())];
    if headers.get_all(IF_NONE_MATCH).iter().any(|value| names(value, &document.etag)) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], caching, document.token).into_response())
}

/// Whether `If-None-Match` names this tag (RFC 9110 §13.1.2; the comparison is weak).
fn names(value: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(value), Ok(etag)) = (value.to_str(), etag.to_str()) else { return false };
    value.trim() == "*" || value.split(',').any(|one| one.trim().trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lumoauth_core::ResourceUri;
    use rstest::rstest;

    const FOLDER: &str = "https://auth.example/orgs/acme/api/v1/oauth/status/";

    #[rstest]
    #[case(&format!("{FOLDER}0"), 5, Some((0, 5)))]
    #[case(&format!("{FOLDER}17"), 0, Some((17, 0)))]
    #[case::leading_zero(&format!("{FOLDER}01"), 0, None)]
    #[case::sign(&format!("{FOLDER}+1"), 0, None)]
    #[case::no_number(&format!("{FOLDER}a"), 0, None)]
    #[case::too_large(&format!("{FOLDER}4294967296"), 0, None)]
    #[case::large_index(&format!("{FOLDER}0"), 4_294_967_296, None)]
    #[case::other_issuer("https://auth.example/orgs/other/api/v1/oauth/status/0", 0, None)]
    #[case::below(&format!("{FOLDER}0/1"), 0, None)]
    fn draft_6_2_references(#[case] uri: &str, #[case] index: u64, #[case] expected: Option<(u32, u32)>) {
        let status = StatusReference { list: ResourceUri::parse(uri).unwrap(), index };
        let expected = expected.map(|(list, index)| StatusIndex { list, index });
        assert_eq!(parse(FOLDER, &status), expected);
    }

    #[rstest]
    #[case::of_the_second_before(99, false)]
    #[case::of_this_second(100, true)]
    #[case::of_a_request_that_began_later(101, true)]
    #[case::as_late_as_may_be(105, true)]
    #[case::the_clock_was_set_back(106, false)]
    #[case::by_far(u64::MAX, false)]
    #[case::long_ago(0, false)]
    fn how_old_what_is_told_may_be(#[case] at: u64, #[case] fresh: bool) {
        assert_eq!(is_fresh(UnixTime(at), UnixTime(100)), fresh);
    }

    #[rstest]
    #[case("\"a\"", true)]
    #[case("W/\"a\"", true)]
    #[case("\"b\", \"a\"", true)]
    #[case("*", true)]
    #[case("\"b\"", false)]
    #[case("a", false)]
    #[case("", false)]
    fn rfc9110_13_1_2(#[case] header: &'static str, #[case] same: bool) {
        assert_eq!(names(&HeaderValue::from_static(header), &HeaderValue::from_static("\"a\"")), same);
    }
}
