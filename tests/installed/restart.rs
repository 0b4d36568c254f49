//! What the one authorization server of install.yaml keeps on its volume.

use super::{
    install,
    tokens::{TokenClient, replicas},
};
use crate::support::kubectl;

#[test]
#[ignore = "needs a cluster"]
fn a_restart_forgets_no_revocation() {
    install();
    let client = TokenClient::new("restart");
    let [(pod, address)] = replicas(1).try_into().unwrap();
    let (good, bad) = (client.token(&address), client.token(&address));
    client.revoke(&address, &bad);
    assert!(client.is_active(&address, &good) && !client.is_active(&address, &bad));

    kubectl(&["delete", "pod", &pod, "-n", "lumoauth-system", "--grace-period=0", "--force"]);
    let [(successor, address)] = replicas(1).try_into().unwrap();
    assert_ne!(successor, pod);
    // It knows the client again once it has listed all; a token says so.
    let next = client.token(&address);
    assert!(client.is_active(&address, &good) && client.is_active(&address, &next));
    assert!(!client.is_active(&address, &bad), "a revoked token came back");
    let program = ["exec", &format!("pod/{successor}"), "-n", "lumoauth-system", "--", "lumoauth", "--version"];
    assert!(kubectl(&program).starts_with("lumoauth "), "the documented command finds the program");
}
