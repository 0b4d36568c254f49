//! Browsers in which a user has signed in: strangers who guess do not keep their user waiting there.

use http::header;
use lumoauth_core::UnixTime;
use rstest::rstest;
use sqlx::{AnyConnection, Connection as _, raw_sql};

use super::people::{ACCOUNT, PASSWORD, acme, add, add_to, login, world};
use crate::{
    authserver::{
        people::{Password, hash},
        testing::{NOW, Reply, World, browser::Browser},
    },
    registry::OrgId,
};

const DEVICE: &str = "__Host-lumoauth_device-acme";
const YEAR: u64 = 365 * 86_400;

/// A password that nobody has and that needs no hash: only the throttle counts it.
fn guess() -> String {
    "x".repeat(1025)
}

/// A browser that has the login page.
async fn browser(world: &World) -> Browser<'_> {
    let mut browser = Browser::new(world);
    browser.get(ACCOUNT).await;
    browser
}

/// A browser in which `name` has signed in and out.
async fn device_of<'a>(world: &'a World, name: &str) -> Browser<'a> {
    let mut browser = browser(world).await;
    sign_in_and_out(&mut browser, name).await;
    browser
}

async fn sign_in_and_out(browser: &mut Browser<'_>, name: &str) {
    browser.get(ACCOUNT).await;
    assert_eq!(browser.press(ACCOUNT, &login(name, PASSWORD)).await.status, 303);
    browser.get(ACCOUNT).await;
    assert_eq!(browser.press(ACCOUNT, &[("action", "logout")]).await.status, 200);
    browser.get(ACCOUNT).await;
}

/// Somebody guesses at alice's password until they have to wait. Gives how often that went.
async fn guess_at_alice(world: &World) -> usize {
    let mut stranger = browser(world).await;
    let mut guesses = 0;
    while guesses < 11 && stranger.press(ACCOUNT, &login("alice", &guess())).await.status == 403 {
        guesses += 1;
    }
    assert_eq!(stranger.press(ACCOUNT, &login("alice", PASSWORD)).await.status, 429);
    guesses
}

/// Whether a browser with this device cookie, and no other, gets in as alice while strangers guess at her name.
async fn is_known(world: &World, device: &str) -> bool {
    let mut browser = browser(world).await;
    browser.cookies.insert(DEVICE.to_owned(), device.to_owned());
    let reply = browser.press(ACCOUNT, &login("alice", PASSWORD)).await;
    assert!(matches!(reply.status.as_u16(), 303 | 429), "{}", reply.text());
    reply.status == 303
}

fn cookies(reply: &Reply) -> Vec<&str> {
    reply.headers.get_all(header::SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_known_browser_gets_in_while_strangers_guess() {
    let (world, _) = world().await;
    let mut device = device_of(&world, "alice").await;
    let mut elsewhere = browser(&world).await;
    guess_at_alice(&world).await;
    assert_eq!(elsewhere.press(ACCOUNT, &login("alice", PASSWORD)).await.status, 429);
    assert_eq!(device.press(ACCOUNT, &login("Alice", PASSWORD)).await.status, 303);
    assert!(device.get(ACCOUNT).await.text().contains("Your account"));
}

#[tokio::test]
async fn a_known_browser_gets_in_while_strangers_guess_at_everybody() {
    let (world, _) = world().await;
    let mut device = device_of(&world, "alice").await;
    let mut stranger = browser(&world).await;
    let (mut at, mut tried) = (0, 403);
    while tried == 403 {
        tried = stranger.press(ACCOUNT, &login(&format!("user{at}"), &guess())).await.status.as_u16();
        at += 1;
    }
    assert_eq!((at, tried), (300, 429), "with the login of before");
    assert_eq!(stranger.press(ACCOUNT, &login("alice", PASSWORD)).await.status, 429);
    assert_eq!(device.press(ACCOUNT, &login("alice", PASSWORD)).await.status, 303);
}

#[tokio::test]
async fn cookies_that_are_not_the_users_help_nobody() {
    let (world, _) = world().await;
    add(&world, "bob").await;
    add_to(&world, &OrgId::parse("other").unwrap(), "alice").await;
    let alice = device_of(&world, "alice").await;
    let bob = device_of(&world, "bob").await;
    let mut other = Browser::new(&world);
    assert_eq!(other.sign_in("/orgs/other/api/v1/account", "alice", PASSWORD).await.status, 303);
    let mut session = Browser::new(&world);
    assert_eq!(session.sign_in(ACCOUNT, "alice", PASSWORD).await.status, 303);
    let other = &other.cookies["__Host-lumoauth_device-other"];
    let session = &session.cookies["__Host-lumoauth-acme"];
    let made_up = format!("ldc_{}", "A".repeat(43));
    guess_at_alice(&world).await;
    for device in [&bob.cookies[DEVICE], other, session, &made_up, "alice", ""] {
        assert!(!is_known(&world, device).await, "{device}");
    }
    assert!(is_known(&world, &alice.cookies[DEVICE]).await);
}

#[tokio::test]
async fn a_device_does_not_tell_which_names_there_are() {
    let (world, _) = world().await;
    add(&world, "bob").await;
    let mut bob = device_of(&world, "bob").await;
    for name in ["alice", "nobody"] {
        for attempt in 0..12 {
            let reply = bob.press(ACCOUNT, &login(name, &guess())).await;
            assert_eq!(reply.status, if attempt < 10 { 403 } else { 429 }, "{name}");
            assert_eq!(cookies(&reply), [""; 0]);
        }
    }
}

#[tokio::test]
async fn guesses_on_a_device_are_bounded() {
    let (world, _) = world().await;
    let mut thief = device_of(&world, "alice").await;
    for _ in 0..9 {
        assert_eq!(thief.press(ACCOUNT, &login("alice", &guess())).await.status, 403);
    }
    assert_eq!(thief.press(ACCOUNT, &login("alice", PASSWORD)).await.status, 303, "the last of ten");
    thief.get(ACCOUNT).await;
    let reply = thief.press(ACCOUNT, &login("alice", PASSWORD)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header(header::RETRY_AFTER)),
        (429, "30"),
        "signing in makes no new device"
    );
    world.set_time(NOW + 30);
    for status in [403, 429] {
        assert_eq!(thief.press(ACCOUNT, &login("alice", &guess())).await.status, status);
    }
    assert_eq!(guess_at_alice(&world).await, 10, "of her name nothing is used up");
}

#[tokio::test]
async fn the_device_cookie_says_how_it_may_be_used() {
    let (world, _) = world().await;
    let mut browser = Browser::new(&world);
    assert!(!browser.get(ACCOUNT).await.header(header::SET_COOKIE).contains("device"));
    assert_eq!(cookies(&browser.press(ACCOUNT, &login("alice", &guess())).await), [""; 0]);
    let reply = browser.press(ACCOUNT, &login("alice", PASSWORD)).await;
    let device = browser.cookies[DEVICE].clone();
    assert!(device.starts_with("ldc_"), "{device}");
    let [session, of_device] = cookies(&reply)[..] else { panic!("{:?}", cookies(&reply)) };
    assert!(session.starts_with("__Host-lumoauth-acme=lss_"), "{session}");
    let flags = "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=31536000";
    assert_eq!(of_device, format!("{DEVICE}={device}; {flags}"));
    assert_eq!(cookies(&browser.get(ACCOUNT).await), [""; 0]);
    let reply = browser.press(ACCOUNT, &[("action", "logout")]).await;
    assert_eq!(cookies(&reply).len(), 1, "of the session");
    assert_eq!(browser.cookies[DEVICE], device, "it is kept");
}

#[tokio::test]
async fn only_its_user_keeps_a_device() {
    let (world, _) = world().await;
    add(&world, "bob").await;
    let mut browser = browser(&world).await;
    let made_up = format!("ldc_{}", "A".repeat(43));
    browser.cookies.insert(DEVICE.to_owned(), made_up.clone());
    sign_in_and_out(&mut browser, "alice").await;
    let alice = browser.cookies[DEVICE].clone();
    assert_ne!(alice, made_up, "who made it up knows it");
    sign_in_and_out(&mut browser, "alice").await;
    assert_eq!(browser.cookies[DEVICE], alice);
    let other = device_of(&world, "alice").await.cookies[DEVICE].clone();
    sign_in_and_out(&mut browser, "bob").await;
    assert_ne!(browser.cookies[DEVICE], alice, "the browser is bob's");
    guess_at_alice(&world).await;
    assert!(!is_known(&world, &alice).await, "and not hers any more");
    assert!(is_known(&world, &other).await);
}

#[rstest]
#[case::soon(1, true)]
#[case::at_last(YEAR - 1, true)]
#[case::too_late(YEAR, false)]
#[tokio::test]
async fn a_device_is_known_for_a_year(#[case] seconds: u64, #[case] known: bool) {
    let (world, _) = world().await;
    let device = device_of(&world, "alice").await.cookies[DEVICE].clone();
    world.set_time(NOW + seconds);
    guess_at_alice(&world).await;
    assert_eq!(is_known(&world, &device).await, known);
    // Signing in began another year.
    world.set_time(NOW + seconds + YEAR - 1);
    guess_at_alice(&world).await;
    assert_eq!(is_known(&world, &device).await, known);
}

#[rstest]
#[case::with_a_new_password(false)]
#[case::disabled(true)]
#[tokio::test]
async fn a_device_ends(#[case] disabled: bool) {
    let (world, alice) = world().await;
    let device = device_of(&world, "alice").await.cookies[DEVICE].clone();
    if disabled {
        for disabled in [true, false] {
            world.store.set_user_disabled(&acme(), &alice.id, disabled, UnixTime(NOW)).await.unwrap();
        }
    } else {
        let again = hash(&Password::parse(PASSWORD).unwrap()).unwrap();
        assert!(world.store.set_password(&acme(), &alice.id, &again).await.unwrap());
    }
    guess_at_alice(&world).await;
    assert!(!is_known(&world, &device).await);
}

#[tokio::test]
async fn where_devices_cannot_be_looked_up_nobody_gets_in() {
    let (world, _) = world().await;
    let mut device = device_of(&world, "alice").await;
    let mut store = AnyConnection::connect(&format!("sqlite://{}", world.database().display())).await.unwrap();
    raw_sql("ALTER TABLE devices RENAME TO lost").execute(&mut store).await.unwrap();
    for password in ["a wrong password", PASSWORD] {
        let reply = device.press(ACCOUNT, &login("alice", password)).await;
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert_eq!(cookies(&reply), [""; 0]);
    }
    raw_sql("ALTER TABLE lost RENAME TO devices").execute(&mut store).await.unwrap();
    assert_eq!(device.press(ACCOUNT, &login("alice", PASSWORD)).await.status, 303);
}
