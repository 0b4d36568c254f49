//! `McpServerSpec` parsed: every string a type, every rule checked, nothing that is not enforced let through.

use std::collections::BTreeMap;

use lumoauth_core::{
    ClientId, ResourceUri, Scope, ScopeSet,
    config::LogLevel,
    metadata::is_reserved_member,
    policy::{DefaultRule, Effect, NamePattern, Policy, PolicyError, Rule, ScopeDeclaration, Selector},
};

use super::{
    Grant, ObjectKey, Problem, Reason, grants,
    references::{ClientReference, Resolver},
};
use crate::api::{
    names::{SIDECAR_ADMIN_PORT, SIDECAR_PORT},
    v1alpha1::{
        AuthMode, DefaultRuleSpec, EnforcementMode, LogLevelSpec, McpServerSpec, RuleSpec, SidecarSpec, Transport,
    },
};

/// A valid McpServer.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Shown to people.
    pub display_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Resource identifier.
    pub resource: ResourceUri,
    /// Where clients connect.
    pub endpoint: ResourceUri,
    /// How clients speak to it.
    pub transport: Transport,
    /// Whether calls need a token.
    pub auth_mode: AuthMode,
    /// Where it listens in its pod.
    pub port: u16,
    /// Its MCP path.
    pub path: String,
    /// What people are told about each scope.
    pub scope_descriptions: BTreeMap<Scope, String>,
    /// Scopes, rules, and the clients that may use it.
    pub policy: Policy,
    /// What people may be given; empty: everybody the required scopes.
    pub grants: Vec<Grant>,
    /// Clients that may introspect its tokens.
    pub introspection_clients: Vec<ClientId>,
    /// Whether lists are filtered.
    pub filter_lists: bool,
    /// Lifetime of access tokens in seconds.
    pub token_lifetime: u64,
    /// Whether token requests must name `resource`.
    pub require_resource_param: bool,
    /// Whether authorization requests need PKCE.
    pub require_pkce: bool,
    /// More PRM members.
    pub metadata: BTreeMap<String, String>,
    /// The injected sidecar.
    pub sidecar: SidecarSettings,
}

/// A valid McpServer whose references to clients are not resolved: as if it named none.
#[derive(Clone, Debug)]
pub(super) struct Unresolved {
    server: Server,
    allowed_clients: Vec<ClientReference>,
    /// Of each of the server's grants.
    grant_clients: Vec<Vec<ClientReference>>,
    introspection_clients: Vec<ObjectKey>,
}

impl Unresolved {
    /// Its resource identifier.
    pub(super) fn resource(&self) -> &ResourceUri {
        &self.server.resource
    }

    /// The server with its references replaced by what they lead to. One that leads nowhere admits nobody.
    pub(super) fn resolve(&self, clients: &mut Resolver<'_>) -> Server {
        let mut server = self.server.clone();
        if !self.allowed_clients.is_empty() {
            let allowed = clients.patterns("allowedClients", &self.allowed_clients);
            server.policy = server.policy.with_allowed_clients(allowed);
        }
        for (at, (grant, references)) in server.grants.iter_mut().zip(&self.grant_clients).enumerate() {
            grant.clients = clients.patterns(&format!("grants[{at}].clients"), references);
        }
        let introspection = self.introspection_clients.iter();
        server.introspection_clients =
            introspection.filter_map(|key| clients.client("introspectionClients", key)).collect();
        server
    }
}

/// The sidecar's settings, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct SidecarSettings {
    /// Requests and limits as written.
    pub resources: crate::api::v1alpha1::Resources,
    /// The longest request body.
    pub max_body_bytes: usize,
    /// Browser origins that may call.
    pub allowed_origins: Vec<String>,
    /// Hosts accepted beside the usual ones.
    pub allowed_hosts: Vec<String>,
    /// Log level.
    pub log_level: LogLevel,
}

/// Parses a spec. `key` is the object's own, for references and defaults. Gives every problem, not only the first.
pub(super) fn parse(key: &ObjectKey, spec: &McpServerSpec) -> Result<Unresolved, Vec<Problem>> {
    let mut problems = not_implemented(spec);
    let mut invalid = |field: &str, error: &dyn std::fmt::Display| {
        problems.push(Problem::new(Reason::Invalid, format!("spec.{field} {error}")));
    };
    let resource = ResourceUri::parse(&spec.resource_uri).map_err(|error| invalid("resourceUri", &error)).ok();
    if spec.resource_uri.contains('?') {
        invalid("resourceUri", &"has a query: remove everything from the ? on");
    }
    let endpoint_text = spec.endpoint_url.as_deref().unwrap_or(&spec.resource_uri);
    let endpoint = match (&spec.endpoint_url, &resource) {
        (None, resource) => resource.clone(),
        (Some(_), _) => ResourceUri::parse(endpoint_text).map_err(|error| invalid("endpointUrl", &error)).ok(),
    };
    let port = u16::try_from(spec.port).ok().filter(|port| ![0, SIDECAR_PORT, SIDECAR_ADMIN_PORT].contains(port));
    if port.is_none() {
        invalid(
            "port",
            &"must be between 1 and 65535 and not 16080 or 16081: write the port the MCP server listens on",
        );
    }
    let path = spec.path.clone().or_else(|| resource.as_ref().map(|resource| resource.path().to_owned()));
    if path.as_deref().is_some_and(|path| !is_plain_path(path)) {
        invalid("path", &"must start with / and hold no query, fragment, space or dot segment: write it as /mcp");
    }
    if !(60..=86400).contains(&spec.token_lifetime_seconds) {
        invalid("tokenLifetimeSeconds", &"must be between 60 and 86400");
    }
    for member in spec.metadata.keys().filter(|member| is_reserved_member(member)) {
        invalid("metadata", &format!("may not set {member}: remove it"));
    }
    let allowed_clients = parse_clients(key, "allowedClients", &spec.allowed_clients, &mut invalid);
    let introspection_clients = parse_introspection_clients(key, &spec.introspection_clients, &mut invalid);
    let sidecar = parse_sidecar(&spec.sidecar, &mut invalid);
    let policy = parse_policy(spec, &mut invalid);
    let declared = policy.as_ref().map(Policy::declared_scopes);
    let (grants, grant_clients) = grants::parse(key, &spec.grants, declared.as_ref(), &mut invalid);
    let (Some(resource), Some(endpoint), Some(port), Some(path), Some(policy)) =
        (resource, endpoint, port, path, policy)
    else {
        return Err(problems);
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let server = Server {
        display_name: spec.display_name.clone().unwrap_or_else(|| key.name.clone()),
        description: spec.description.clone(),
        resource,
        endpoint,
        transport: spec.transport,
        auth_mode: spec.auth_mode,
        port,
        path,
        scope_descriptions: descriptions(spec),
        policy,
        grants,
        introspection_clients: Vec::new(),
        filter_lists: spec.filter_lists,
        token_lifetime: u64::try_from(spec.token_lifetime_seconds).unwrap_or(60),
        require_resource_param: spec.require_resource_param,
        require_pkce: spec.require_pkce,
        metadata: spec.metadata.clone(),
        sidecar,
    };
    Ok(Unresolved { server, allowed_clients, grant_clients, introspection_clients })
}

/// Fields whose enforcement is not built: anything but the default would be a promise nobody keeps.
fn not_implemented(spec: &McpServerSpec) -> Vec<Problem> {
    let unbuilt = [
        (spec.transport == Transport::HttpSse, "spec.transport: HttpSse", "use StreamableHttp"),
        (spec.enforcement == EnforcementMode::Observe, "spec.enforcement: Observe", "use Enforce"),
        (spec.require_dpop, "spec.requireDpop: true", "remove it"),
        (!spec.authorization_servers.is_empty(), "spec.authorizationServers", "remove it to use the built-in one"),
        (!spec.sidecar.tls_secret_name.is_empty(), "spec.sidecar.tlsSecretName", "remove it"),
        (!spec.require_pkce, "spec.requirePkce: false", "remove it"),
    ];
    unbuilt
        .into_iter()
        .filter(|(set, ..)| *set)
        .map(|(_, field, fix)| {
            Problem::new(Reason::NotImplemented, format!("{field} is not enforced by this version: {fix}"))
        })
        .collect()
}

fn is_plain_path(path: &str) -> bool {
    let clean = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"".contains(&byte));
    let resolved = path.split('/').all(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain != "." && plain != ".."
    });
    path.starts_with('/') && clean && resolved
}

fn descriptions(spec: &McpServerSpec) -> BTreeMap<Scope, String> {
    let described =
        spec.scopes.iter().filter_map(|scope| Some((Scope::parse(&scope.name).ok()?, scope.description.clone()?)));
    described.collect()
}

/// Takes the field that is not valid, and why.
pub(super) type Invalid<'a> = dyn FnMut(&str, &dyn std::fmt::Display) + 'a;

pub(super) fn parse_clients(
    key: &ObjectKey,
    field: &str,
    entries: &[String],
    invalid: &mut Invalid<'_>,
) -> Vec<ClientReference> {
    let mut parsed = Vec::new();
    for entry in entries {
        match ClientReference::parse(entry, &key.namespace) {
            Some(reference) => parsed.push(reference),
            None => {
                invalid(field, &format!("{entry:?}: write an McpClient's name, an https URL or https://host/*"));
            }
        }
    }
    parsed
}

/// Only McpClients: a client that registers itself could introspect what it was never trusted with.
fn parse_introspection_clients(key: &ObjectKey, entries: &[String], invalid: &mut Invalid<'_>) -> Vec<ObjectKey> {
    let mut parsed = Vec::new();
    for entry in entries {
        if entry.contains("://") {
            invalid("introspectionClients", &format!("{entry:?}: write an McpClient's name"));
        } else {
            parsed.push(ObjectKey::resolve(entry, &key.namespace));
        }
    }
    parsed
}

fn parse_sidecar(spec: &SidecarSpec, invalid: &mut Invalid<'_>) -> SidecarSettings {
    let max_body_bytes = usize::try_from(spec.max_body_bytes).unwrap_or(0);
    if !(1024..=67_108_864).contains(&max_body_bytes) {
        invalid("sidecar.maxBodyBytes", &"must be between 1024 and 67108864");
    }
    for origin in &spec.allowed_origins {
        let good = ResourceUri::parse(origin).is_ok_and(|url| url.origin() == origin);
        if !good {
            invalid(
                "sidecar.allowedOrigins",
                &format!("{origin:?}: write https://host or https://host:port in lower case"),
            );
        }
    }
    for host in &spec.allowed_hosts {
        let good = ResourceUri::parse(&format!("https://{host}/")).is_ok_and(|url| url.authority() == host);
        if !good {
            invalid("sidecar.allowedHosts", &format!("{host:?}: write host or host:port in lower case"));
        }
    }
    SidecarSettings {
        resources: spec.resources.clone(),
        max_body_bytes,
        allowed_origins: spec.allowed_origins.clone(),
        allowed_hosts: spec.allowed_hosts.clone(),
        log_level: match spec.log_level {
            LogLevelSpec::Error => LogLevel::Error,
            LogLevelSpec::Warn => LogLevel::Warn,
            LogLevelSpec::Info => LogLevel::Info,
            LogLevelSpec::Debug => LogLevel::Debug,
        },
    }
}

pub(super) fn parse_scopes(field: &str, scopes: &[String], invalid: &mut Invalid<'_>) -> ScopeSet {
    let mut parsed = Vec::new();
    for text in scopes {
        match Scope::parse(text) {
            Ok(scope) => parsed.push(scope),
            Err(error) => invalid(field, &format!("{text:?}: {error}")),
        }
    }
    parsed.into_iter().collect()
}

fn parse_policy(spec: &McpServerSpec, invalid: &mut Invalid<'_>) -> Option<Policy> {
    let mut declarations: Vec<ScopeDeclaration> = Vec::new();
    for scope in &spec.scopes {
        match Scope::parse(&scope.name) {
            Ok(name) if declarations.iter().any(|other| other.name == name) => {
                invalid("scopes", &format!("declares {name:?} twice: remove one", name = name.as_str()));
            }
            Ok(name) => {
                let implies = parse_scopes("scopes.implies", &scope.implies, invalid);
                declarations.push(ScopeDeclaration { name, implies });
            }
            Err(error) => invalid("scopes", &format!("{:?}: {error}", scope.name)),
        }
    }
    let required = parse_scopes("requiredScopes", &spec.required_scopes, invalid);
    let mut rules = Vec::new();
    for (at, rule) in spec.rules.iter().enumerate() {
        match parse_rule(at, rule, invalid) {
            Some(rule) => rules.push(rule),
            None => return None,
        }
    }
    let default_rule = match spec.default_rule {
        DefaultRuleSpec::RequireBase => DefaultRule::RequireBase,
        DefaultRuleSpec::Deny => DefaultRule::Deny,
    };
    Policy::new(declarations, required, rules, default_rule, None)
        .map_err(|error| match error {
            PolicyError::Undeclared { at, scope } => {
                invalid(&at, &format!("names scope {scope:?}, which spec.scopes does not declare: declare it there"));
            }
            PolicyError::Cycle(_) => invalid("scopes.implies", &format!("is not valid: {error}: remove one of them")),
            PolicyError::Repeated(_) | PolicyError::TooManyScopes => {
                invalid("scopes", &format!("is not valid: {error}"));
            }
        })
        .ok()
}

fn parse_rule(at: usize, rule: &RuleSpec, invalid: &mut Invalid<'_>) -> Option<Rule> {
    let field = format!("rules[{at}]");
    let mut patterns = |of: &str, texts: &[String]| -> Option<Vec<NamePattern>> {
        let mut parsed = Vec::new();
        for text in texts {
            match NamePattern::parse(text) {
                Ok(pattern) => parsed.push(pattern),
                Err(error) => {
                    invalid(&format!("{field}.{of}"), &format!("{text:?} {error}"));
                    return None;
                }
            }
        }
        Some(parsed)
    };
    let (tools, methods, names) =
        (patterns("tools", &rule.tools)?, patterns("methods", &rule.methods)?, patterns("names", &rule.names)?);
    let selector = match (tools.is_empty(), methods.is_empty()) {
        (false, true) if names.is_empty() => Selector::Tools(tools),
        (true, false) => Selector::Methods { methods, names },
        (false, true) => {
            invalid(&field, &"has names beside tools: write the tool names in tools");
            return None;
        }
        _ => {
            invalid(&field, &"needs exactly one of tools and methods: write two rules to cover both");
            return None;
        }
    };
    let effect = match (rule.deny, rule.scopes.is_empty()) {
        (true, true) => Effect::Deny,
        (false, false) => Effect::Require(parse_scopes(&format!("{field}.scopes"), &rule.scopes, invalid)),
        _ => {
            invalid(&field, &"needs either scopes or deny: true");
            return None;
        }
    };
    Some(Rule { selector, effect })
}
