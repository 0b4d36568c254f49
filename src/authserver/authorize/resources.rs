//! `resource` (RFC 8707 §2): which MCP servers a request is about.

use lumoauth_core::ResourceUri;

use super::refused::Refused;
use crate::{
    api::v1alpha1::AuthMode,
    authserver::{
        clients::OAuthClient,
        org::{Org, Target},
        parameters::Parameters,
    },
};

/// How many servers one request may be about: more than that nobody reads before they agree.
const MAX_RESOURCES: usize = 8;

/// The servers a request names, each once, or the only one it can mean. The issuer is not among them: its audience is
/// that of programs.
pub(super) fn choose(org: &Org, client: &OAuthClient, parameters: &Parameters<'_>) -> Result<Vec<Target>, Refused> {
    let mut targets: Vec<Target> = Vec::new();
    for resource in parameters.all("resource") {
        let target = find(org, client, resource)?;
        if !targets.iter().any(|known| known.id == target.id) {
            targets.push(target);
        }
    }
    match targets.len() {
        0 => only_one(org, client).map(|target| vec![target]),
        1..=MAX_RESOURCES => Ok(targets),
        _ => Err(Refused::TooManyResources),
    }
}

fn find(org: &Org, client: &OAuthClient, resource: &str) -> Result<Target, Refused> {
    let resource = ResourceUri::parse(resource).map_err(|_| Refused::MalformedResource)?;
    let target = org.server_of(&resource).ok_or(Refused::UnknownResource)?;
    if !client.may_use(&target) {
        return Err(Refused::ClientNotAllowed);
    }
    match target.server.auth_mode {
        AuthMode::OAuth => Ok(target),
        AuthMode::None => Err(Refused::PublicServer),
    }
}

/// `resource` may be left out by a client that may use one server only, if that server says so.
fn only_one(org: &Org, client: &OAuthClient) -> Result<Target, Refused> {
    let mut usable =
        org.servers().filter(|target| target.server.auth_mode == AuthMode::OAuth && client.may_use(target));
    match (usable.next(), usable.next()) {
        (Some(target), None) if !target.server.require_resource_param => Ok(target),
        _ => Err(Refused::NoResource),
    }
}
