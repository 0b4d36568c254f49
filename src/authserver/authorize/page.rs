//! The consent page: who asks, where the answer goes, and what for, in words.

use axum::response::Response;

use super::{
    proposal::{Part, Proposal},
    request::Request,
};
use crate::authserver::{
    clients::{OAuthClient, Source},
    errors::Outcome,
    org::Org,
    pages::{self, ClientView, ConsentPage, FormTarget, ScopeView, ServerView, Shown, Warning},
    people::{Visitor, account},
    store::User,
};

/// Asks `user`. `action` is the path and query of this very request.
pub(super) fn consent(
    org: &Org,
    visitor: &Visitor,
    user: &User,
    (request, proposal): (&Request, &Proposal),
    action: &str,
) -> Response {
    let (client, redirect) = (request.to.client(), request.to.redirect());
    let (document, unverified) = match &client.source {
        Source::Registered(_) => (None, false),
        Source::Document { host } => (Some(host.as_str()), false),
        Source::Dynamic => (None, true),
    };
    let page = ConsentPage {
        org: org.id.as_str(),
        user: user.name.as_str(),
        action,
        account: &account::path(org),
        csrf: &visitor.csrf(),
        proposal: &proposal.digest().to_string(),
        client: ClientView { name: Shown::of(&client.name), vouched: vouched(org, client) },
        destination: Shown::of(&redirect.destination()),
        warnings: Warning::of(redirect, document, unverified),
        servers: proposal.parts.iter().map(|part| server(part, proposal.offline)).collect(),
        offline: proposal.offline,
    };
    let mut response = pages::consent(&page, &FormTarget::redirect(redirect));
    response.extensions_mut().insert(Outcome("consent"));
    visitor.answer(response)
}

/// Who says that the client is who it says.
fn vouched(org: &Org, client: &OAuthClient) -> Shown {
    match &client.source {
        Source::Registered(_) => Shown::of(&format!("the administrators of {}", org.id)),
        Source::Document { host } => Shown::of(host),
        Source::Dynamic => Shown::of("nobody"),
    }
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
