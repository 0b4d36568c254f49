//! Who may do what: the rules of an `McpServer`, and the one function that decides by them.

mod decide;
mod model;
mod readings;
#[cfg(test)]
mod tests;

pub(crate) use decide::needed;
pub use decide::{Decision, DenyReason, Identity, Operation, Permit, Principal, decide, decide_open};
pub use model::{
    DefaultRule, Effect, MAX_SCOPES, NamePattern, PatternError, Policy, PolicyError, Rule, ScopeDeclaration, Selector,
};
