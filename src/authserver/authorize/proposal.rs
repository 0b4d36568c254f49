//! What a person is asked about, whether it has to be asked, and what comes of a yes.

use lumoauth_core::{ClientId, ResourceUri, ScopeSet, UnixTime};
use serde_json::json;

use super::{request::Request, scopes::proposed};
use crate::{
    authserver::{
        artefact::Digest,
        org::Target,
        scopes,
        store::{Consent, NewCode, User, UserId},
    },
    registry::Person,
};

/// How long a code can be redeemed, in seconds (RFC 6749 §4.1.2 recommends at most ten minutes; the client is waiting).
const CODE_LIFETIME: u64 = 60;

/// What a client may be given by a person: all that was asked for and is allowed, and what the person agreed to before.
#[derive(Clone)]
pub(super) struct Proposal {
    user: UserId,
    client: ClientId,
    fingerprint: Digest,
    /// Of where the answer goes, whatever port a program on loopback got.
    destination: Digest,
    /// A part for each server of which anything is left; at least one.
    pub(super) parts: Vec<Part>,
    /// Whether the client may act while the person is away.
    pub(super) offline: bool,
}

/// What a client may be given at one server.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) target: Target,
    pub(super) scopes: ScopeSet,
    /// What the person agreed to before, about this client as it is today.
    pub(super) before: Option<Consent>,
}

impl Proposal {
    /// What `request` comes to for `user`. `before` holds what the user agreed to, server by server. `None`: nothing
    /// may be given.
    pub(super) fn of(request: &Request, user: &User, before: Vec<Option<Consent>>) -> Option<Self> {
        let client = request.to.client();
        let fingerprint = client.fingerprint();
        let person = Person { name: user.name.as_str(), groups: &user.groups };
        let mut parts = Vec::new();
        for (target, before) in request.targets.iter().zip(before) {
            let Some(allowed) = scopes::allowed(&target.server, person, client) else { continue };
            let before = before.filter(|consent| consent.fingerprint == fingerprint);
            let held = before.as_ref().map(|consent| consent.scopes.clone()).unwrap_or_default();
            if let Some(scopes) = proposed(&target.server, request.asked.as_ref(), &held, &allowed) {
                parts.push(Part { target: target.clone(), scopes, before });
            }
        }
        if parts.is_empty() {
            return None;
        }
        let (user, client) = (user.id.clone(), client.id.clone());
        let destination = Digest::of(&request.to.redirect().without_loopback_port());
        Some(Self { user, client, fingerprint, destination, parts, offline: request.offline() })
    }

    /// Whether the person agreed to all of it before, on a page that said that the answer goes where it goes now.
    pub(super) fn was_agreed_to(&self) -> bool {
        let here = |part: &Part| part.before.as_ref().is_some_and(|before| before.destination == self.destination);
        self.parts.iter().all(|part| here(part) && part.was_agreed_to(self.offline))
    }

    /// A digest of all that the page says of it. A yes is an answer to what was on the page, and to nothing that has
    /// changed since.
    pub(super) fn digest(&self) -> Digest {
        let parts: Vec<_> = self
            .parts
            .iter()
            .map(|part| json!([part.target.server.resource.as_str(), part.scopes.to_string()]))
            .collect();
        let (fingerprint, destination) = (self.fingerprint.to_string(), self.destination.to_string());
        let shown = json!([self.user.as_str(), self.client.as_str(), fingerprint, destination, parts, self.offline]);
        Digest::of(&shown.to_string())
    }

    /// What is remembered of a yes.
    pub(super) fn consents(&self, now: UnixTime) -> Vec<(ResourceUri, Consent)> {
        let consent = |scopes: &ScopeSet| Consent {
            scopes: scopes.clone(),
            offline: self.offline,
            fingerprint: self.fingerprint,
            destination: self.destination,
            given_at: now,
        };
        self.parts.iter().map(|part| (part.target.server.resource.clone(), consent(&part.scopes))).collect()
    }

    /// What the person agreed to before, as it was read.
    pub(super) fn agreed_before(&self) -> Vec<(ResourceUri, Consent)> {
        let before = |part: &Part| Some((part.target.server.resource.clone(), part.before.clone()?));
        self.parts.iter().filter_map(before).collect()
    }

    /// The code that comes of a yes, bound to everything the request said (RFC 6749 §4.1.2, RFC 7636 §4.4, RFC 8707).
    pub(super) fn code(&self, request: &Request, digest: Digest, now: UnixTime) -> NewCode {
        let resources = self.parts.iter().map(|part| (part.target.server.resource.clone(), part.scopes.clone()));
        NewCode {
            digest,
            client: self.client.clone(),
            user: self.user.clone(),
            redirect_uri: request.to.redirect().as_str().to_owned(),
            challenge: request.challenge.clone(),
            resources: resources.collect(),
            offline: self.offline,
            issued_at: now,
            expires_at: UnixTime(now.0.saturating_add(CODE_LIFETIME)),
        }
    }

    /// The resources, for the audit line.
    pub(super) fn resources(&self) -> String {
        let resources: Vec<_> = self.parts.iter().map(|part| part.target.server.resource.as_str()).collect();
        resources.join(" ")
    }

    /// The scopes at all of them, for the audit line.
    pub(super) fn scopes(&self) -> String {
        self.parts.iter().fold(ScopeSet::default(), |all, part| all.union(&part.scopes)).to_string()
    }
}

impl Part {
    fn was_agreed_to(&self, offline: bool) -> bool {
        let hierarchy = self.target.server.policy.hierarchy();
        self.before
            .as_ref()
            .is_some_and(|before| hierarchy.satisfies(&before.scopes, &self.scopes) && (before.offline || !offline))
    }
}
