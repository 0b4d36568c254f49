//! The first person who may sign in.

use lumoauth_core::UnixTime;

use crate::{
    authserver::{
        artefact::RandomError,
        people::{HashError, Password, hash},
        store::{AddUser, NewUser, Store, StoreError, UserName, UserNameError},
    },
    registry::OrgId,
};

/// Who is there when nobody is.
pub(super) const FIRST_USER: &str = "alice";

/// There is nobody to sign in as.
#[derive(Debug, thiserror::Error)]
pub(super) enum FirstUserError {
    /// No password can be made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The password cannot be kept.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// [`FIRST_USER`] is no name.
    #[error(transparent)]
    Name(#[from] UserNameError),
    /// The users cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// The user cannot be added.
    #[error(transparent)]
    Add(#[from] AddUser),
}

/// Adds a user where there is none yet, and gives the password. It is kept nowhere: whoever missed it sets another.
pub(super) async fn first_user(store: &Store, org: &OrgId, now: UnixTime) -> Result<Option<Password>, FirstUserError> {
    if !store.users(org).await?.is_empty() {
        return Ok(None);
    }
    let password = Password::generate()?;
    let user = NewUser { name: UserName::parse(FIRST_USER)?, password_hash: hash(&password)?, groups: Vec::new() };
    store.add_user(org, user, now).await?;
    Ok(Some(password))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Storage;
    use prometheus_client::metrics::counter::Counter;

    #[tokio::test]
    async fn the_first_user_is_added_once() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::Sqlite { path: directory.path().join("lumoauth.db") };
        let store = Store::open(&storage, Counter::default()).await.unwrap();
        let org = OrgId::parse("default").unwrap();
        let password = first_user(&store, &org, UnixTime(1)).await.unwrap().unwrap();
        assert!(password.text().len() >= 20);
        assert!(first_user(&store, &org, UnixTime(2)).await.unwrap().is_none());
        let users = store.users(&org).await.unwrap();
        assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["alice"]);
        assert!(!users[0].password_hash.as_str().contains(password.text()));
    }
}
