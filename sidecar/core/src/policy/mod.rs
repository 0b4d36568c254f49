//! Who may do what: the rules of an `McpServer`, and the one function that decides by them.

mod decide;
mod model;

pub use decide::{Decision, DenyReason, Identity, Operation, Permit, Principal, decide, decide_open};
pub use model::{
    DefaultRule, Effect, NamePattern, PatternError, Policy, PolicyError, Rule, ScopeDeclaration, Selector,
};
