//! What each ServiceAccount can do, as the API server sees it.

use std::fmt::Write as _;

use super::install;
use crate::support::{kubectl, root};

/// The rules of a ServiceAccount in a namespace, without those every authenticated user has.
fn rights(account: &str, namespace: &str) -> String {
    let user = format!("system:serviceaccount:lumoauth-system:{account}");
    let all = kubectl(&["auth", "can-i", "--list", "--as", &user, "-n", namespace, "--no-headers"]);
    let mut lines: Vec<String> = all
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.contains("selfsubject") && !line.starts_with("[/") && !line.starts_with("[] [/"))
        .collect();
    lines.sort();
    lines.join("\n")
}

#[test]
#[ignore = "needs a cluster"]
fn each_service_account_can_do_exactly_this() {
    install();
    let mut text = String::new();
    for (account, namespace) in [
        ("lumoauth-operator", "lumoauth-system"),
        ("lumoauth-operator", "default"),
        ("lumoauth-authserver", "lumoauth-system"),
        ("lumoauth-authserver", "default"),
    ] {
        let rights = rights(account, namespace);
        assert!(!rights.contains('*'), "{account} in {namespace}: {rights}");
        assert!(namespace == "lumoauth-system" || !rights.contains("secrets"), "{account}: {rights}");
        writeln!(text, "# {account} in {namespace}\n{rights}\n").unwrap();
    }
    let golden = root().join("tests/installed/rbac.golden");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap();
    assert_eq!(text, expected, "the rights changed: if that is meant, run this test with UPDATE_GOLDEN=1 and review");
}
