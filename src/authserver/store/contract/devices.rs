use super::*;
use crate::authserver::store::{MAX_DEVICES, rows::sql};

contract![
    a_login_makes_a_device_known,
    only_a_login_that_starts_a_session_makes_a_device_known,
    a_device_is_of_who_signed_in_last,
    a_kept_device_lasts_longer,
    devices_are_bounded,
    a_new_password_forgets_devices,
    disabling_a_user_forgets_devices,
    devices_go_with_their_user,
];

async fn start(store: &Store, session: &NewSession) {
    assert!(store.start_session(&org(), session, None, NOW).await.unwrap());
}

async fn a_login_makes_a_device_known(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    let session = new_session(&ada, "one");
    start(&store, &session).await;
    let device = session.device;
    let whose = async |org, now| store.device_user(&org, &device.digest, now).await.unwrap();
    assert_eq!(whose(org(), device.expires_at.minus(1)).await.as_ref(), Some(&ada.name));
    assert_eq!(whose(org(), device.expires_at).await, None);
    assert_eq!(whose(other_org(), NOW).await, None);
    assert_eq!(device_user(&store, "two").await, None);
    assert_eq!(store.device_user(&org(), &session.digest, NOW).await.unwrap(), None, "a session is no device");
    assert_eq!(store.session(&org(), &device.digest, NOW).await.unwrap(), None, "a device is no session");
    store.end_session(&org(), &session.digest).await.unwrap();
    assert_eq!(device_user(&store, "one").await, Some(ada.name), "it is known after the session");
}

async fn only_a_login_that_starts_a_session_makes_a_device_known(database: &Database) {
    let store = database.open().await;
    let (mut ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    start(&store, &new_session(&bob, "bob")).await;
    ada.password_hash = PasswordHash::new("$argon2id$another".to_owned());
    let mut session = new_session(&ada, "ada");
    session.device.replaces = Some(new_session(&bob, "bob").device.digest);
    assert!(!store.start_session(&org(), &session, None, NOW).await.unwrap());
    assert_eq!(device_user(&store, "ada").await, None);
    assert_eq!(device_user(&store, "bob").await, Some(bob.name), "nothing is replaced");
}

async fn a_device_is_of_who_signed_in_last(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    let of_ada = new_session(&ada, "ada");
    start(&store, &of_ada).await;
    start(&store, &new_session(&ada, "elsewhere")).await;
    let mut of_bob = new_session(&bob, "bob");
    of_bob.device.replaces = Some(of_ada.device.digest);
    start(&store, &of_bob).await;
    assert_eq!(device_user(&store, "bob").await, Some(bob.name));
    assert_eq!(device_user(&store, "ada").await, None);
    assert_eq!(device_user(&store, "elsewhere").await, Some(ada.name), "her other device");
}

async fn a_kept_device_lasts_longer(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    start(&store, &new_session(&ada, "one")).await;
    let kept = new_session(&ada, "one").device;
    let kept = NewDevice { replaces: Some(kept.digest), expires_at: kept.expires_at.plus(DAY), ..kept };
    start(&store, &NewSession { device: kept, ..new_session(&ada, "two") }).await;
    let known = async |now| store.device_user(&org(), &kept.digest, now).await.unwrap().is_some();
    assert!(known(kept.expires_at.minus(1)).await && !known(kept.expires_at).await);
    assert_eq!(device_user(&store, "two").await, None);
}

async fn devices_are_bounded(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    start(&store, &new_session(&bob, "bob")).await;
    // All in one second.
    for at in 0..MAX_DEVICES {
        start(&store, &new_session(&ada, &at.to_string())).await;
    }
    assert_eq!(device_user(&store, "0").await.as_ref(), Some(&ada.name));
    // The first is used again, and so is not the oldest any more.
    let first = new_session(&ada, "0").device;
    let kept = NewDevice { replaces: Some(first.digest), ..first };
    start(&store, &NewSession { device: kept, ..new_session(&ada, "again") }).await;
    start(&store, &new_session(&ada, "one more")).await;
    assert_eq!(device_user(&store, "1").await, None, "the oldest made room");
    for kept in (2..MAX_DEVICES).map(|at| at.to_string()).chain(["0".to_owned(), "one more".to_owned()]) {
        assert_eq!(device_user(&store, &kept).await.as_ref(), Some(&ada.name), "{kept}");
    }
    assert_eq!(device_user(&store, "bob").await, Some(bob.name));
}

async fn a_new_password_forgets_devices(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    for (user, cookie) in [(&ada, "one"), (&ada, "two"), (&bob, "bob")] {
        start(&store, &new_session(user, cookie)).await;
    }
    let better = PasswordHash::new("$argon2id$better".to_owned());
    assert!(store.replace_hash(&org(), &ada.id, &ada.password_hash, &better).await.unwrap());
    assert!(!store.set_password(&other_org(), &ada.id, &better).await.unwrap());
    assert_eq!(device_user(&store, "one").await.as_ref(), Some(&ada.name), "the password is the same");
    assert!(store.set_password(&org(), &ada.id, &PasswordHash::new("$argon2id$y".to_owned())).await.unwrap());
    for cookie in ["one", "two"] {
        assert_eq!(device_user(&store, cookie).await, None);
    }
    assert_eq!(device_user(&store, "bob").await, Some(bob.name));
}

async fn disabling_a_user_forgets_devices(database: &Database) {
    let store = database.open().await;
    let (ada, bob) = (user(&store, "ada").await, user(&store, "bob").await);
    for (user, cookie) in [(&ada, "ada"), (&bob, "bob")] {
        start(&store, &new_session(user, cookie)).await;
    }
    for disabled in [true, false] {
        assert!(store.set_user_disabled(&org(), &ada.id, disabled, NOW).await.unwrap());
        assert_eq!(device_user(&store, "ada").await, None);
    }
    assert!(store.set_user_disabled(&org(), &bob.id, false, NOW).await.unwrap());
    assert_eq!(device_user(&store, "bob").await, Some(bob.name), "enabling forgets nothing");
}

async fn devices_go_with_their_user(database: &Database) {
    let store = database.open().await;
    let ada = user(&store, "ada").await;
    start(&store, &new_session(&ada, "ada")).await;
    assert_eq!(store.run(sql("DELETE FROM users")).await.unwrap(), 1);
    assert!(!store.finds(sql("SELECT digest FROM devices")).await.unwrap());
}
