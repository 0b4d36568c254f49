//! The decision as tables, and what must hold of every policy.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{Scope, ScopeSet, client::ClientPattern, token::testing::verified};

fn set(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

fn patterns(text: &str) -> Vec<NamePattern> {
    text.split(' ').filter(|name| !name.is_empty()).map(|name| NamePattern::parse(name).unwrap()).collect()
}

fn effect(text: &str) -> Effect {
    if text == "deny" { Effect::Deny } else { Effect::Require(set(text)) }
}

fn tools(names: &str, then: &str) -> Rule {
    Rule { selector: Selector::Tools(patterns(names)), effect: effect(then) }
}

fn methods(methods: &str, names: &str, then: &str) -> Rule {
    let selector = Selector::Methods { methods: patterns(methods), names: patterns(names) };
    Rule { selector, effect: effect(then) }
}

fn declared() -> Vec<ScopeDeclaration> {
    [("read", ""), ("write", "read"), ("admin", "write"), ("other", "")]
        .map(|(name, implies)| ScopeDeclaration { name: Scope::parse(name).unwrap(), implies: set(implies) })
        .to_vec()
}

fn policy(rules: Vec<Rule>, default_rule: DefaultRule) -> Policy {
    Policy::new(declared(), set("read"), rules, default_rule, None).unwrap()
}

/// The rules of the design's example, and one for each other class.
fn example(default_rule: DefaultRule) -> Policy {
    let rules = vec![
        tools("send_reminder update_*", "write"),
        methods("resources/read resources/subscribe", "invoice://* note", "other"),
        methods("resources/*", "secret://*", "deny"),
        tools("delete_*", "deny"),
        tools("delete_draft", "write"),
        methods("prompts/get", "danger", "deny"),
        methods("completion/complete", "", "write"),
        methods("tasks/cancel", "", "admin"),
    ];
    policy(rules, default_rule)
}

/// One word for a decision.
fn verdict(decision: &Decision) -> String {
    match decision {
        Decision::Permit(_) => "permit".to_owned(),
        Decision::Challenge(scopes) => format!("needs {scopes}"),
        Decision::Deny(reason) => reason.as_str().to_owned(),
    }
}

fn ask(policy: &Policy, scopes: &str, operation: Operation<'_>) -> String {
    verdict(&decide(policy, &Principal::new(&verified("mcpc_a", scopes)), operation))
}

fn message<'a>(method: &'a str, name: &'a str) -> Operation<'a> {
    Operation::Message { method, name: (!name.is_empty()).then_some(name) }
}

#[rstest]
#[case::base("tools/list", "", "read", "permit")]
#[case::base_needs_required("tools/list", "", "other", "needs read")]
#[case::base_without_scopes("initialize", "", "", "needs read")]
#[case::implied("ping", "", "admin", "permit")]
#[case::discover("server/discover", "", "read", "permit")]
#[case::unsubscribe("resources/unsubscribe", "secret://x", "read", "permit")]
#[case::templates("resources/templates/list", "", "read", "permit")]
#[case::notification("notifications/cancelled", "", "read", "permit")]
#[case::notification_needs_required("notifications/cancelled", "", "", "needs read")]
#[case::no_rule("tools/call", "search", "read", "permit")]
#[case::exact("tools/call", "send_reminder", "read", "needs read write")]
#[case::exact_granted("tools/call", "send_reminder", "write", "permit")]
#[case::exact_implied("tools/call", "send_reminder", "admin", "permit")]
#[case::exact_is_exact("tools/call", "send_reminders", "read", "permit")]
#[case::exact_is_case_sensitive("tools/call", "Send_reminder", "read", "permit")]
#[case::prefix("tools/call", "update_all", "read", "needs read write")]
#[case::prefix_alone("tools/call", "update_", "read", "needs read write")]
#[case::prefix_is_a_prefix("tools/call", "xupdate_all", "read", "permit")]
#[case::denied("tools/call", "delete_all", "admin", "denied_by_rule")]
#[case::first_match_decides("tools/call", "delete_draft", "write", "denied_by_rule")]
#[case::prompt("prompts/get", "hello", "read", "permit")]
#[case::prompt_denied("prompts/get", "danger", "admin", "denied_by_rule")]
#[case::tool_named_as_a_prompt("tools/call", "danger", "read", "permit")]
#[case::resource("resources/read", "invoice://1", "read", "needs other read")]
#[case::resource_granted("resources/read", "invoice://1", "read other", "permit")]
#[case::subscribe("resources/subscribe", "invoice://1", "read", "needs other read")]
#[case::resource_denied("resources/read", "secret://1", "admin other", "denied_by_rule")]
#[case::subscribe_denied("resources/subscribe", "secret://1", "admin", "denied_by_rule")]
#[case::resource_no_rule("resources/read", "free://1", "read", "permit")]
#[case::not_a_uri("resources/read", "note", "read", "needs other read")]
#[case::completion("completion/complete", "danger", "read", "needs read write")]
#[case::task_get("tasks/get", "t1", "read", "permit")]
#[case::task_cancel("tasks/cancel", "t1", "write", "needs admin read")]
#[case::task_list("tasks/list", "", "read", "permit")]
#[case::tool_without_name("tools/call", "", "admin", "missing_name")]
#[case::resource_without_name("resources/read", "", "admin", "missing_name")]
#[case::completion_without_name("completion/complete", "", "admin", "missing_name")]
#[case::task_without_name("tasks/get", "", "admin", "missing_name")]
#[case::unknown("tools/call2", "x", "admin", "unknown_method")]
#[case::method_case("Tools/call", "search", "admin", "unknown_method")]
#[case::method_space("tools/call ", "search", "admin", "unknown_method")]
#[case::servers_method("sampling/createMessage", "", "admin", "unknown_method")]
#[case::roots("roots/list", "", "admin", "unknown_method")]
#[case::empty_method("", "", "admin", "unknown_method")]
#[case::listen_is_not_a_plain_message("subscriptions/listen", "", "admin", "unknown_method")]
fn rules_in_order(#[case] method: &str, #[case] name: &str, #[case] scopes: &str, #[case] expected: &str) {
    assert_eq!(ask(&example(DefaultRule::RequireBase), scopes, message(method, name)), expected);
}

#[rstest]
#[case::ruled("tools/call", "send_reminder", "permit")]
#[case::no_rule("tools/call", "search", "no_rule")]
#[case::prompt("prompts/get", "hello", "no_rule")]
#[case::resource("resources/read", "free://1", "no_rule")]
#[case::task_list("tasks/list", "", "no_rule")]
#[case::base("tools/list", "", "permit")]
#[case::notification("notifications/initialized", "", "permit")]
#[case::unknown("x/y", "", "unknown_method")]
fn default_rule_deny(#[case] method: &str, #[case] name: &str, #[case] expected: &str) {
    assert_eq!(ask(&example(DefaultRule::Deny), "admin", message(method, name)), expected);
    let no_rules = policy(Vec::new(), DefaultRule::Deny);
    let expected = if expected == "permit" && method == "tools/call" { "no_rule" } else { expected };
    assert_eq!(ask(&no_rules, "admin", message(method, name)), expected);
}

#[rstest]
#[case("x/y", "", "permit")]
#[case("tools/call", "anything", "permit")]
#[case("tools/call", "", "missing_name")]
fn without_rules_the_required_scopes_suffice(#[case] method: &str, #[case] name: &str, #[case] expected: &str) {
    let open = policy(Vec::new(), DefaultRule::RequireBase);
    assert_eq!(ask(&open, "read", message(method, name)), expected);
    if expected == "permit" {
        assert_eq!(ask(&open, "", message(method, name)), "needs read");
    }
}

#[rstest]
#[case("secret://x")]
#[case("SECRET://x")]
#[case("Secret://x")]
#[case(" secret://x")]
#[case("se\tcret://x")]
#[case("\u{1}secret://x")]
#[case("secret:%2f/x")]
#[case("%73ecret://x")]
#[case("%53ECRET://x")]
#[case("%2573ecret://x")]
#[case("%252573ecret://x")]
#[case("%20secret://x")]
fn a_rule_for_a_uri_holds_for_every_spelling_of_it(#[case] uri: &str) {
    let denying = example(DefaultRule::RequireBase);
    assert_eq!(ask(&denying, "admin", message("resources/read", uri)), "denied_by_rule");
}

const URI_METHODS: [&str; 3] = ["resources/read", "resources/subscribe", "completion/complete"];

#[rstest]
#[case::plain("invoice://secret/1", "denied_by_rule")]
#[case::letter("invoice://%73ecret/1", "denied_by_rule")]
#[case::all_letters("invoice://%73%65%63%72%65%74", "denied_by_rule")]
#[case::lower_and_upper_digits("invoice://a/priv%C3%a9", "denied_by_rule")]
#[case::twice("invoice://%2573ecret", "denied_by_rule")]
#[case::three_times("invoice://%252573ecret", "denied_by_rule")]
#[case::four_times("invoice://%25252573ecret", "unclear_uri")]
#[case::not_utf8("invoice://%ff/1", "unclear_uri")]
#[case::dots("invoice://a/../secret", "denied_by_rule")]
#[case::dots_in_code("invoice://a/%2e%2e/secret", "denied_by_rule")]
#[case::dots_in_code_twice("invoice://a/%252e%252e/secret", "denied_by_rule")]
#[case::slash_in_code("invoice://a%2fsecret", "denied_by_rule")]
#[case::slash_and_dots_in_code("invoice://a/b%2f%2e%2e%2Fsecret", "denied_by_rule")]
#[case::scheme("INVOICE://secret", "denied_by_rule")]
#[case::scheme_in_code("%49NVOICE://secret", "denied_by_rule")]
#[case::other("invoice://%74ax/1", "needs other read")]
#[case::percent("invoice://tax/100%25", "needs other read")]
#[case::no_rule("free://%74ax/1", "needs read")]
fn no_spelling_of_a_uri_evades_a_rule(#[case] uri: &str, #[case] expected: &str) {
    let denied = "invoice://secret* invoice://a/secret* invoice://a/privé";
    let every = URI_METHODS.join(" ");
    let rules = vec![methods(&every, denied, "deny"), methods(&every, "invoice://*", "other")];
    let policy = policy(rules, DefaultRule::RequireBase);
    for method in URI_METHODS {
        assert_eq!(ask(&policy, "", message(method, uri)), expected, "{method}");
    }
}

#[rstest]
#[case::one("invoice://tax", "needs read write")]
#[case::both("invoice://%74ax", "needs other read write")]
fn every_reading_adds_its_scopes(#[case] uri: &str, #[case] expected: &str) {
    let rules = vec![
        methods("resources/read", "invoice://%74ax", "other"),
        methods("resources/read", "invoice://tax", "write"),
    ];
    assert_eq!(ask(&policy(rules, DefaultRule::Deny), "", message("resources/read", uri)), expected);
}

/// Tools, prompts and tasks are names, not URIs, and rules for all names cannot be evaded by one.
#[rstest]
#[case("tools/call", "*")]
#[case("prompts/get", "*")]
#[case("tasks/get", "*")]
#[case("resources/read", "")]
fn codes_mean_nothing_where_no_uri_is_chosen(#[case] method: &str, #[case] names: &str) {
    let policy = policy(vec![methods(method, names, "write")], DefaultRule::Deny);
    assert_eq!(ask(&policy, "write", message(method, "a://%ff%2525252573")), "permit");
}

#[rstest]
#[case::nothing("", "", "read", "permit")]
#[case::nothing_needs_required("", "", "", "needs read")]
#[case::free("free://1", "", "read", "permit")]
#[case::one("invoice://1", "", "read", "needs other read")]
#[case::one_granted("invoice://1", "", "read other", "permit")]
#[case::two("free://1 invoice://1", "", "read", "needs other read")]
#[case::denied("secret://1", "", "admin other", "denied_by_rule")]
#[case::denied_last("free://1 invoice://1 secret://1", "", "admin other", "denied_by_rule")]
#[case::denied_in_code("free://1 %73ecret://1", "", "admin other", "denied_by_rule")]
#[case::unclear("invoice://%ff", "", "admin other", "unclear_uri")]
#[case::task("", "mine-1", "read", "permit")]
#[case::task_denied("", "mine-1 theirs-1", "admin", "denied_by_rule")]
#[case::task_scope("", "paid-1", "read", "needs read write")]
#[case::union("invoice://1", "paid-1", "read", "needs other read write")]
fn listen_needs_what_each_subscription_needs(
    #[case] resources: &str,
    #[case] tasks: &str,
    #[case] scopes: &str,
    #[case] expected: &str,
) {
    let rules = vec![
        methods("resources/subscribe", "invoice://*", "other"),
        methods("resources/*", "secret://*", "deny"),
        methods("tasks/get", "theirs-*", "deny"),
        methods("tasks/*", "paid-*", "write"),
    ];
    let all = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (resources, tasks) = (all(resources), all(tasks));
    let operation = Operation::Listen { resources: &resources, tasks: &tasks };
    assert_eq!(ask(&policy(rules, DefaultRule::RequireBase), scopes, operation), expected);
}

#[test]
fn listen_falls_under_the_default_rule_by_what_it_names() {
    let strict = policy(Vec::new(), DefaultRule::Deny);
    let topics = ["x".to_owned()];
    let listen = |resources, tasks| ask(&strict, "read", Operation::Listen { resources, tasks });
    assert_eq!(listen(&[], &[]), "permit");
    assert_eq!((listen(&topics, &[]), listen(&[], &topics)), ("no_rule".to_owned(), "no_rule".to_owned()));
}

#[rstest]
#[case("file:///public/../private/key", "denied_by_rule")]
#[case("file:///public/%2e%2e/private/key", "denied_by_rule")]
#[case("file:///public\\..\\private/key", "no_rule")]
#[case("file:/private/key", "no_rule")]
#[case("file:///public/../other", "no_rule")]
#[case("file:///public/x", "permit")]
#[case("file:///public/./x", "permit")]
fn both_readings_of_a_uri_must_be_allowed(#[case] uri: &str, #[case] expected: &str) {
    let rules = vec![
        methods("resources/read", "file:///private/*", "deny"),
        methods("resources/read", "file:///public/*", "read"),
    ];
    assert_eq!(ask(&policy(rules, DefaultRule::Deny), "read", message("resources/read", uri)), expected);
}

#[rstest]
#[case("*", "denied_by_rule")]
#[case("", "denied_by_rule")]
#[case("mine-*", "permit")]
fn tasks_list_is_applied_to_nothing(#[case] names: &str, #[case] expected: &str) {
    let denying = policy(vec![methods("tasks/*", names, "deny")], DefaultRule::RequireBase);
    assert_eq!(ask(&denying, "read", message("tasks/list", "")), expected);
    assert_eq!(ask(&denying, "read", message("tasks/get", "mine-1")), "denied_by_rule");
}

#[rstest]
#[case(Operation::Response)]
#[case(Operation::EndSession)]
fn what_has_no_method_needs_the_required_scopes(#[case] operation: Operation<'_>) {
    let strict = example(DefaultRule::Deny);
    assert_eq!(ask(&strict, "read", operation), "permit");
    assert_eq!(ask(&strict, "other", operation), "needs read");
}

#[rstest]
#[case::everyone(None, "permit")]
#[case::nobody(Some(&[][..]), "client_not_allowed")]
#[case::named(Some(&["mcpc_b", "mcpc_a"][..]), "permit")]
#[case::not_named(Some(&["mcpc_b", "https://app.example/*"][..]), "client_not_allowed")]
fn allowed_clients(#[case] allowed: Option<&[&str]>, #[case] expected: &str) {
    let allowed = allowed.map(|all| all.iter().map(|text| ClientPattern::parse(text).unwrap()).collect());
    let policy = Policy::new(declared(), set("read"), Vec::new(), DefaultRule::RequireBase, allowed).unwrap();
    for operation in [message("tools/call", "x"), message("ping", ""), Operation::Response, Operation::EndSession] {
        assert_eq!(ask(&policy, "read", operation), expected);
    }
}

#[test]
fn a_permit_says_for_whom_and_until_when() {
    let token = verified("mcpc_a", "admin");
    let Decision::Permit(permit) = decide(&example(DefaultRule::Deny), &Principal::new(&token), message("ping", ""))
    else {
        panic!("not permitted")
    };
    let identity = permit.identity().unwrap();
    assert_eq!((identity.client.as_str(), identity.scopes.to_string().as_str()), ("mcpc_a", "admin"));
    assert_eq!(permit.expires_at(), Some(token.expires_at));
    assert_eq!((decide_open().identity(), decide_open().expires_at()), (None, None));
}

#[rstest]
#[case("", false)]
#[case("*", true)]
#[case("**", false)]
#[case("*a", false)]
#[case("a*b", false)]
#[case("a*", true)]
#[case("a", true)]
fn patterns_end_in_a_star_or_have_none(#[case] text: &str, #[case] ok: bool) {
    assert_eq!(NamePattern::parse(text).map(|pattern| pattern.to_string()).ok(), ok.then(|| text.to_owned()));
}

#[test]
fn a_policy_names_only_what_it_declares() {
    let new = |scopes, required, rules| Policy::new(scopes, set(required), rules, DefaultRule::Deny, None);
    let undeclared = |at: &str| Err(PolicyError::Undeclared { at: at.to_owned(), scope: "nope".to_owned() });
    assert_eq!(new(declared(), "read nope", Vec::new()), undeclared("requiredScopes"));
    assert_eq!(new(declared(), "", vec![tools("x", "read"), tools("x", "read nope")]), undeclared("rules[1]"));
    let implies =
        |name: &str, implies: &str| ScopeDeclaration { name: Scope::parse(name).unwrap(), implies: set(implies) };
    assert_eq!(new(vec![implies("a", "nope")], "", Vec::new()), undeclared("scopes.implies"));
    assert!(matches!(new(vec![implies("a", "b"), implies("b", "a")], "", Vec::new()), Err(PolicyError::Cycle(_))));
    let twice = vec![implies("a", ""), implies("b", ""), implies("a", "b")];
    assert_eq!(new(twice, "", Vec::new()), Err(PolicyError::Repeated("a".to_owned())));
    let chain = |length: usize| {
        let first = std::iter::once(implies("s0", ""));
        first.chain((1..length).map(|i| implies(&format!("s{i}"), &format!("s{}", i - 1)))).collect::<Vec<_>>()
    };
    assert!(new(chain(MAX_SCOPES), "", Vec::new()).is_ok());
    assert_eq!(new(chain(MAX_SCOPES + 1), "", Vec::new()), Err(PolicyError::TooManyScopes));
}

const SCOPES: [&str; 4] = ["read", "write", "admin", "other"];
const METHODS: [&str; 7] =
    ["tools/call", "prompts/get", "resources/read", "tasks/get", "tasks/list", "tools/list", "x/y"];
const NAMES: [&str; 5] = ["a", "ab", "b", "a://b", "A://b"];

fn scopes() -> impl Strategy<Value = ScopeSet> {
    proptest::sample::subsequence(SCOPES.to_vec(), 0..=SCOPES.len()).prop_map(|all| set(&all.join(" ")))
}

fn rule() -> impl Strategy<Value = Rule> {
    let names = proptest::sample::subsequence(vec!["a", "a*", "b", "*", "a://*"], 0..3)
        .prop_map(|names| patterns(&names.join(" ")));
    let selector = prop_oneof![
        names.clone().prop_map(Selector::Tools),
        (proptest::sample::subsequence(vec!["tools/call", "tasks/*", "resources/read", "*"], 1..3), names)
            .prop_map(|(methods, names)| Selector::Methods { methods: patterns(&methods.join(" ")), names }),
    ];
    (selector, prop_oneof![Just(Effect::Deny), scopes().prop_map(Effect::Require)])
        .prop_map(|(selector, effect)| Rule { selector, effect })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let default_rule = prop_oneof![Just(DefaultRule::RequireBase), Just(DefaultRule::Deny)];
    (proptest::collection::vec(rule(), 0..5), scopes(), default_rule)
        .prop_map(|(rules, required, default)| Policy::new(declared(), required, rules, default, None).unwrap())
}

fn any_operation() -> impl Strategy<Value = Operation<'static>> {
    prop_oneof![
        8 => (proptest::sample::select(&METHODS[..]), proptest::option::of(proptest::sample::select(&NAMES[..])))
            .prop_map(|(method, name)| Operation::Message { method, name }),
        1 => Just(Operation::Response),
        1 => Just(Operation::EndSession),
    ]
}

proptest! {
    #[test]
    fn more_scopes_never_take_a_permit_away(policy in any_policy(), operation in any_operation(), few in scopes(), more in scopes()) {
        let ask = |scopes: &ScopeSet| verdict(&decide(&policy, &Principal::new(&verified("mcpc_a", &scopes.to_string())), operation));
        let (before, after) = (ask(&few), ask(&few.union(&more)));
        prop_assert!(before != "permit" || after == "permit");
        // A denial is about the operation, not about scopes.
        prop_assert!(before.starts_with("needs") || before == "permit" || before == after);
    }

    #[test]
    fn what_a_challenge_asks_for_suffices(policy in any_policy(), operation in any_operation(), granted in scopes()) {
        if let Decision::Challenge(needed) = decide(&policy, &Principal::new(&verified("mcpc_a", &granted.to_string())), operation) {
            prop_assert!(policy.required_scopes().is_subset(&needed));
            prop_assert_eq!(verdict(&decide(&policy, &Principal::new(&verified("mcpc_a", &needed.to_string())), operation)), "permit");
        }
    }

    #[test]
    fn rules_after_the_one_that_matches_change_nothing(policy in any_policy(), later in rule(), operation in any_operation()) {
        let first = tools("*", "write");
        let rules: Vec<Rule> = std::iter::once(first.clone()).chain(policy.rules().iter().cloned()).chain([later]).collect();
        let long = Policy::new(declared(), set("read"), rules, DefaultRule::Deny, None).unwrap();
        let short = Policy::new(declared(), set("read"), vec![first], DefaultRule::Deny, None).unwrap();
        if matches!(operation, Operation::Message { method: "tools/call", .. }) {
            prop_assert_eq!(needed(&long, operation), needed(&short, operation));
        }
    }

    #[test]
    fn a_policy_survives_the_wire(policy in any_policy()) {
        let text = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    }
}
