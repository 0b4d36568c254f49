//! A whole authorization request, every part of it proven: what is left to find out is what the person says.

use lumoauth_core::{ScopeSet, pkce::CodeChallenge};

use super::{
    pkce,
    prompt::Prompt,
    redirectable::Redirectable,
    refused::Refused,
    resources,
    response_type::{request_objects, response_mode, response_type},
};
use crate::authserver::{
    org::{Org, Target},
    parameters::Parameters,
    scopes,
};

/// An authorization request (RFC 6749 §4.1.1) that can be put to a person.
#[derive(Clone)]
pub(super) struct Request {
    /// Who asks, and where the answer goes.
    pub(super) to: Redirectable,
    /// What the client will prove to have asked (RFC 7636).
    pub(super) challenge: CodeChallenge,
    /// The servers it is about; at least one.
    pub(super) targets: Vec<Target>,
    /// The scopes; `None`: those that each server requires.
    pub(super) asked: Option<ScopeSet>,
    /// How the person may be asked.
    pub(super) prompt: Prompt,
}

impl Request {
    /// The steps, in order. From here on a refusal is told to the client.
    pub(super) fn parse(org: &Org, to: &Redirectable, parameters: &Parameters<'_>) -> Result<Self, Refused> {
        request_objects(parameters)?;
        response_type(parameters)?;
        response_mode(parameters)?;
        let challenge = pkce::challenge(parameters)?;
        let prompt = Prompt::of(parameters)?;
        let targets = resources::choose(org, to.client(), parameters)?;
        let asked = scopes::asked(parameters.get("scope")).map_err(|scopes::Malformed| Refused::MalformedScope)?;
        Ok(Self { to: to.clone(), challenge, targets, asked, prompt })
    }

    /// Whether a refresh token comes of it: decided by the client's registration as it is now, which the page tells.
    pub(super) fn offline(&self) -> bool {
        self.to.client().grants.refresh_token
    }
}
