//! The rules of a server as data: parsed, bounded by whoever wrote them, and free of wildcards in the middle.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize, de};

use crate::{
    Scope, ScopeSet,
    client::{ClientId, ClientPattern},
    scope::{Hierarchy, ImpliesCycle},
};

/// A name, or every name that starts so (`update_*`). Compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This name.
    Exact(Box<str>),
    /// Every name with this prefix; the empty prefix is every name.
    Prefix(Box<str>),
}

/// A pattern that could be misread: empty, or with a `*` that is not its last character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("may end in * but not contain it elsewhere, and may not be empty")]
pub struct PatternError;

impl NamePattern {
    /// Parses a pattern of a rule.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        match text.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') => Ok(Self::Prefix(prefix.into())),
            None if !text.is_empty() && !text.contains('*') => Ok(Self::Exact(text.into())),
            _ => Err(PatternError),
        }
    }

    /// Whether `name` is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == &**exact,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl Serialize for NamePattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// Which operations a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Selector {
    /// `tools/call` of these tools.
    Tools(Vec<NamePattern>),
    /// These methods; `names` restricts them to these prompts, resource URIs, tasks or tools, and empty means all.
    Methods {
        /// JSON-RPC methods.
        methods: Vec<NamePattern>,
        /// What the method is applied to. A URI is judged as it stands and also normalised and percent-decoded, and each
        /// of these must be allowed: a pattern that allows a URI with `%20` needs another beside it, with the blank.
        names: Vec<NamePattern>,
    },
}

/// What a matching rule does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// These scopes are needed, on top of the required ones.
    Require(ScopeSet),
    /// Nobody may.
    Deny,
}

/// One rule; the first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Which operations.
    pub selector: Selector,
    /// What then.
    pub effect: Effect,
}

/// What an operation needs that no rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultRule {
    /// The required scopes suffice.
    #[default]
    RequireBase,
    /// It is denied.
    Deny,
}

/// A scope the server knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScopeDeclaration {
    /// The scope.
    pub name: Scope,
    /// What holding it includes.
    #[serde(default, skip_serializing_if = "ScopeSet::is_empty")]
    pub implies: ScopeSet,
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The hierarchy has a circle.
    #[error(transparent)]
    Cycle(#[from] ImpliesCycle),
    /// A scope is named that `scopes` does not declare.
    #[error("{at} names scope {scope:?}, which is not declared in scopes")]
    Undeclared {
        /// `requiredScopes`, `scopes.implies` or `rules[<index>]`.
        at: String,
        /// Which scope.
        scope: String,
    },
    /// A scope is declared twice, and only one of its `implies` could hold.
    #[error("scope {0:?} is declared more than once")]
    Repeated(String),
    /// More scopes than [`MAX_SCOPES`].
    #[error("more than {MAX_SCOPES} scopes are declared")]
    TooManyScopes,
}

/// The most scopes a server may declare; the depth to which the hierarchy may nest follows from it.
pub const MAX_SCOPES: usize = 512;

/// Everything a call is decided by, apart from the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PolicyDocument", into = "PolicyDocument")]
pub struct Policy {
    document: PolicyDocument,
    hierarchy: Hierarchy,
}

/// The wire form of a [`Policy`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyDocument {
    scopes: Vec<ScopeDeclaration>,
    required_scopes: ScopeSet,
    rules: Vec<Rule>,
    default_rule: DefaultRule,
    /// `None`: every client of the issuer. An empty list: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allowed_clients: Option<Vec<ClientPattern>>,
}

impl Policy {
    /// Builds a policy; every scope named must be declared, and the hierarchy must have no circle.
    ///
    /// `allowed_clients`: `None` admits every client of a trusted issuer, an empty list admits none.
    pub fn new(
        scopes: Vec<ScopeDeclaration>,
        required_scopes: ScopeSet,
        rules: Vec<Rule>,
        default_rule: DefaultRule,
        allowed_clients: Option<Vec<ClientPattern>>,
    ) -> Result<Self, PolicyError> {
        PolicyDocument { scopes, required_scopes, rules, default_rule, allowed_clients }.try_into()
    }

    /// Needed by every call.
    pub fn required_scopes(&self) -> &ScopeSet {
        &self.document.required_scopes
    }

    /// Every declared scope.
    pub fn declared_scopes(&self) -> ScopeSet {
        self.document.scopes.iter().map(|declared| declared.name.clone()).collect()
    }

    /// The rules, first match first.
    pub fn rules(&self) -> &[Rule] {
        &self.document.rules
    }

    /// What holds for operations no rule names.
    pub fn default_rule(&self) -> DefaultRule {
        self.document.default_rule
    }

    /// The closed `implies` relation.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// The same policy for these clients only; an empty list admits none.
    pub fn with_allowed_clients(&self, clients: Vec<ClientPattern>) -> Self {
        let document = PolicyDocument { allowed_clients: Some(clients), ..self.document.clone() };
        Self { document, hierarchy: self.hierarchy.clone() }
    }

    /// Whether this client may call.
    pub fn admits(&self, client: &ClientId) -> bool {
        self.allowed_clients().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.admits(client)))
    }

    /// Who may call; `None` is everyone with a token.
    pub fn allowed_clients(&self) -> Option<&[ClientPattern]> {
        self.document.allowed_clients.as_deref()
    }
}

impl TryFrom<PolicyDocument> for Policy {
    type Error = PolicyError;

    fn try_from(document: PolicyDocument) -> Result<Self, PolicyError> {
        if document.scopes.len() > MAX_SCOPES {
            return Err(PolicyError::TooManyScopes);
        }
        let mut declared = BTreeSet::new();
        if let Some(scope) = document.scopes.iter().find(|scope| !declared.insert(&scope.name)) {
            return Err(PolicyError::Repeated(scope.name.as_str().to_owned()));
        }
        let known = |at: &dyn Fn() -> String, scopes: &ScopeSet| match scopes.iter().find(|s| !declared.contains(*s)) {
            Some(unknown) => Err(PolicyError::Undeclared { at: at(), scope: unknown.as_str().to_owned() }),
            None => Ok(()),
        };
        known(&|| "requiredScopes".to_owned(), &document.required_scopes)?;
        for scope in &document.scopes {
            known(&|| "scopes.implies".to_owned(), &scope.implies)?;
        }
        for (index, rule) in document.rules.iter().enumerate() {
            if let Effect::Require(scopes) = &rule.effect {
                known(&|| format!("rules[{index}]"), scopes)?;
            }
        }
        let hierarchy = Hierarchy::new(document.scopes.iter().map(|scope| (&scope.name, &scope.implies)))?;
        Ok(Self { document, hierarchy })
    }
}

impl From<Policy> for PolicyDocument {
    fn from(policy: Policy) -> Self {
        policy.document
    }
}
