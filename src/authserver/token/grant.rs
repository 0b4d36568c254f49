//! Step 3: what kind of grant (RFC 6749 §4.4.2, §5.2).

use super::{Refused, client::Authenticated};
use crate::{api::v1alpha1::GrantType, authserver::parameters::Parameters};

/// Only `client_credentials`, and only for clients registered for it.
pub(super) fn check(parameters: &Parameters<'_>, authenticated: &Authenticated<'_>) -> Result<(), Refused> {
    match parameters.get("grant_type") {
        None => Err(Refused::NoGrantType),
        Some("client_credentials") if authenticated.client.grant_types.contains(&GrantType::ClientCredentials) => {
            Ok(())
        }
        Some("client_credentials") => Err(Refused::GrantNotRegistered),
        Some(_) => Err(Refused::UnsupportedGrantType),
    }
}
