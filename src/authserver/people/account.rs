//! The account page: what a user has allowed, and the way to take it back.

use std::collections::BTreeMap;

use axum::{
    extract::{RawQuery, State as Extract, rejection::BytesRejection},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, header::SET_COOKIE};
use lumoauth_core::{ClientId, ResourceUri};

use super::{
    Action, Form, Visitor,
    login::{self, Purpose},
    visitor::answered,
};
use crate::authserver::{
    clients,
    org::{Org, OrgError, State},
    pages::{self, AccountPage, AllowedClientView, FormTarget, Problem, ScopeView, ServerView, Shown, SignedOutPage},
    store::{Consent, User},
};

/// The most clients that are shown at once.
const MAX_SHOWN: usize = 50;
/// The query after a withdrawal.
const WITHDRAWN: &str = "withdrawn";

/// The path of the account page of an organization.
pub(crate) fn path(org: &Org) -> String {
    format!("/orgs/{}/api/v1/account", org.id)
}

/// Answers `GET account`.
pub(crate) async fn show(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let org = org?;
    let visitor = Visitor::of(&state, &org, &headers).await?;
    match visitor.user() {
        None => Ok(login::page(&org, &visitor, &purpose(&org))),
        Some(user) => {
            let done = (query.as_deref() == Some(WITHDRAWN)).then_some("The access is withdrawn.");
            render(&state, &org, &visitor, user, done).await
        }
    }
}

/// Answers `POST account`.
pub(crate) async fn act(
    Extract(state): Extract<State>,
    org: Result<Org, OrgError>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let org = org?;
    let body = body.map_err(|_| Problem::TooLarge)?;
    let visitor = Visitor::of(&state, &org, &headers).await?;
    let Some(form) = visitor.form(&org, &headers, &body)? else { return pages::see_other(&path(&org)) };
    match (form.action, visitor.user()) {
        (Action::Login, _) => login::submit(&state, &org, &visitor, &form, &purpose(&org)).await,
        (Action::Logout, _) => {
            let cookie = visitor.sign_out(&state, &org).await?;
            let mut page = pages::signed_out(&SignedOutPage { org: org.id.as_str(), account: &path(&org) });
            page.headers_mut().append(SET_COOKIE, cookie);
            Ok(page)
        }
        (Action::Withdraw, Some(user)) => withdraw(&state, &org, user, &form).await,
        (Action::Withdraw, None) => Ok(login::page(&org, &visitor, &purpose(&org))),
        (Action::Allow | Action::Deny, _) => Err(Problem::BadForm),
    }
}

fn purpose(org: &Org) -> Purpose {
    Purpose { page: path(org), client: None, target: FormTarget::own(), leads_on: false }
}

async fn withdraw(state: &State, org: &Org, user: &User, form: &Form<'_>) -> Result<Response, Problem> {
    let client = form.fields.get("client").and_then(|client| ClientId::parse(client).ok()).ok_or(Problem::BadForm)?;
    answered(state.store.withdraw_consent(&org.id, &user.id, &client, org.now)).await?;
    tracing::info!(
        target: "lumoauth::audit",
        event = "consent",
        outcome = "withdrawn",
        org = %org.id,
        user = %user.id,
        client = client.as_str(),
    );
    pages::see_other(&format!("{}?{WITHDRAWN}", path(org)))
}

async fn render(
    state: &State,
    org: &Org,
    visitor: &Visitor,
    user: &User,
    done: Option<&'static str>,
) -> Result<Response, Problem> {
    let consents = answered(state.store.consents(&org.id, &user.id)).await?;
    let mut order: Vec<&ClientId> = Vec::new();
    let mut allowed: BTreeMap<&ClientId, Vec<ServerView>> = BTreeMap::new();
    for (client, resource, consent) in &consents {
        let servers = allowed.entry(client).or_default();
        if servers.is_empty() {
            order.push(client);
        }
        servers.push(server(org, resource, consent));
    }
    let more = order.len() > MAX_SHOWN;
    let mut clients = Vec::new();
    for id in order.into_iter().take(MAX_SHOWN) {
        let servers = allowed.remove(id).unwrap_or_default();
        clients.push(AllowedClientView { id: id.as_str(), name: name(state, org, id).await, servers });
    }
    let page = AccountPage {
        org: org.id.as_str(),
        user: user.name.as_str(),
        action: &path(org),
        csrf: &visitor.csrf(),
        done,
        clients,
        more,
    };
    Ok(pages::account(&page))
}

/// What the client is called. A page that lists clients fetches no documents: their URL is their name.
async fn name(state: &State, org: &Org, id: &ClientId) -> Shown {
    if id.as_str().starts_with("https://") {
        return Shown::whole(id.as_str());
    }
    match clients::resolve(state, org, id).await {
        Ok(client) => Shown::of(client.title()),
        Err(_) => Shown::of("An application that is no longer registered"),
    }
}

fn server(org: &Org, resource: &ResourceUri, consent: &Consent) -> ServerView {
    let target = org.server_of(resource);
    let name = target.as_ref().map_or(resource.as_str(), |target| &target.server.display_name);
    let describe = |scope| target.as_ref().and_then(|target| target.server.scope_descriptions.get(scope));
    let scopes = consent.scopes.iter().map(|scope| ScopeView {
        name: Shown::of(scope.as_str()),
        description: describe(scope).map(|text| Shown::of(text)),
        already: true,
    });
    ServerView {
        name: Shown::of(name),
        resource: Shown::of(resource.as_str()),
        scopes: scopes.collect(),
        offline: consent.offline,
    }
}
