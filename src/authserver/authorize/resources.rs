//! `resource` (RFC 8707 §2): which MCP servers a request is about.

use super::refused::Refused;
use crate::authserver::{
    clients::OAuthClient,
    org::{Org, Target},
    parameters::Parameters,
    resource,
};

/// How many servers one request may be about: more than that nobody reads before they agree.
const MAX_RESOURCES: usize = 8;

/// The servers a request names, each once, or the only one it can mean. The issuer is not among them: its audience is
/// that of programs.
pub(super) fn choose(org: &Org, client: &OAuthClient, parameters: &Parameters<'_>) -> Result<Vec<Target>, Refused> {
    let mut targets: Vec<Target> = Vec::new();
    for text in parameters.all("resource") {
        let target = resource::admitted(org, client, &resource::parse(text)?)?;
        if !targets.iter().any(|known| known.id == target.id) {
            targets.push(target);
        }
    }
    match targets.len() {
        0 => Ok(vec![resource::only_one(org, client)?]),
        1..=MAX_RESOURCES => Ok(targets),
        _ => Err(Refused::TooManyResources),
    }
}
