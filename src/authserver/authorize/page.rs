//! The consent page: who asks, where the answer goes, and what for, in words.

use axum::response::Response;
use lumoauth_core::client::ClientPattern;

use super::{
    proposal::{Part, Proposal},
    request::Request,
};
use crate::authserver::{
    clients::{OAuthClient, Source},
    errors::Outcome,
    org::{Org, State},
    pages::{self, ClientView, ConsentPage, FormTarget, ScopeView, ServerView, Shown, Warning},
    people::{Visitor, account},
    store::User,
};

/// Asks `user`. `action` is the path and query of this very request.
pub(super) fn consent(
    (state, org): (&State, &Org),
    visitor: &Visitor,
    user: &User,
    (request, proposal): (&Request, &Proposal),
    action: &str,
) -> Response {
    let (client, redirect) = (request.to.client(), request.to.redirect());
    let (document, unverified) = match &client.source {
        Source::Registered(_) => (None, false),
        Source::Document { host } => (Some(host.as_str()), !is_named(state, org, client, proposal)),
        Source::Dynamic => (None, true),
    };
    let (known, by) = known(org, client);
    let page = ConsentPage {
        org: org.id.as_str(),
        user: user.name.as_str(),
        action,
        account: &account::path(org),
        csrf: &visitor.csrf(),
        proposal: &proposal.digest().to_string(),
        client: ClientView { name: Shown::of(client.title()), known, by },
        destination: Shown::whole(&redirect.destination()),
        warnings: Warning::of(redirect, document, unverified),
        servers: proposal.parts.iter().map(|part| server(part, proposal.offline)).collect(),
        offline: proposal.offline,
    };
    let mut response = pages::consent(&page, &FormTarget::redirect(redirect));
    response.extensions_mut().insert(Outcome("consent"));
    visitor.answer(response)
}

/// How the client became known, and by whom.
fn known(org: &Org, client: &OAuthClient) -> (&'static str, Shown) {
    match &client.source {
        Source::Registered(_) => ("Registered by", Shown::of(&format!("the administrators of {}", org.id))),
        Source::Document { .. } => ("Described by", Shown::whole(client.id.as_str())),
        Source::Dynamic => ("Registered by", Shown::of("itself")),
    }
}

/// Whether an administrator has named the document's host (`cimd.allowedDomains`, which the host has passed), or each of
/// the servers names the document itself. That a document is there says nothing of who wrote it.
fn is_named(state: &State, org: &Org, client: &OAuthClient, proposal: &Proposal) -> bool {
    let exact = |part: &Part| {
        let allowed = part.target.server.policy.allowed_clients().unwrap_or_default();
        allowed.contains(&ClientPattern::Exact(client.id.clone()))
    };
    !org.settings(state).cimd.allowed_domains.is_empty() || proposal.parts.iter().all(exact)
}

fn server(part: &Part, offline: bool) -> ServerView {
    let server = &part.target.server;
    let scopes = part.scopes.iter().map(|scope| ScopeView {
        name: Shown::of(scope.as_str()),
        description: server.scope_descriptions.get(scope).map(|text| Shown::of(text)),
        already: part.before.as_ref().is_some_and(|before| before.scopes.contains(scope)),
    });
    ServerView {
        name: Shown::of(&server.display_name),
        resource: Shown::of(server.resource.as_str()),
        scopes: scopes.collect(),
        offline,
    }
}
