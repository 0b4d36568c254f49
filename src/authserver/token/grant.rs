//! What kind of grant (RFC 6749 §4.1.3, §4.4.2, §6), and whether the client is registered for it (§5.2).

use super::Refused;
use crate::authserver::{clients::OAuthClient, parameters::Parameters};

/// The grants there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
}

impl Kind {
    /// `grant_type`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// The grant that is asked for, if the client may use it.
pub(super) fn kind(form: &Parameters<'_>, client: &OAuthClient) -> Result<Kind, Refused> {
    let grants = client.grants;
    let (kind, registered) = match form.get("grant_type").ok_or(Refused::NoGrantType)? {
        "authorization_code" => (Kind::AuthorizationCode, grants.authorization_code),
        "refresh_token" => (Kind::RefreshToken, grants.refresh_token),
        // RFC 6749 §4.4: a client that proves nothing cannot act for itself.
        "client_credentials" => (Kind::ClientCredentials, grants.client_credentials && client.is_confidential()),
        _ => return Err(Refused::UnsupportedGrantType),
    };
    if registered { Ok(kind) } else { Err(Refused::GrantNotRegistered) }
}

#[cfg(test)]
mod tests {
    use lumoauth_core::ClientId;
    use rstest::rstest;

    use super::*;
    use crate::authserver::clients::{Authentication, GrantTypes, ScopeLimit, Source};

    const NONE: GrantTypes = GrantTypes { authorization_code: false, refresh_token: false, client_credentials: false };
    const CODE: GrantTypes = GrantTypes { authorization_code: true, ..NONE };
    const REFRESH: GrantTypes = GrantTypes { refresh_token: true, ..NONE };
    const CREDENTIALS: GrantTypes = GrantTypes { client_credentials: true, ..NONE };
    const NOT_REGISTERED: Result<Kind, Refused> = Err(Refused::GrantNotRegistered);

    #[rstest]
    #[case("authorization_code", CODE, true, Ok(Kind::AuthorizationCode))]
    #[case("authorization_code", CODE, false, Ok(Kind::AuthorizationCode))]
    #[case("authorization_code", GrantTypes { authorization_code: false, refresh_token: true, client_credentials: true }, true, NOT_REGISTERED)]
    #[case("refresh_token", REFRESH, false, Ok(Kind::RefreshToken))]
    #[case("refresh_token", GrantTypes { refresh_token: false, authorization_code: true, client_credentials: true }, true, NOT_REGISTERED)]
    #[case("client_credentials", CREDENTIALS, true, Ok(Kind::ClientCredentials))]
    #[case::by_a_public_client("client_credentials", CREDENTIALS, false, NOT_REGISTERED)]
    #[case("client_credentials", GrantTypes { client_credentials: false, authorization_code: true, refresh_token: true }, true, NOT_REGISTERED)]
    #[case::none("", CODE, true, Err(Refused::NoGrantType))]
    #[case::password("password", CODE, true, Err(Refused::UnsupportedGrantType))]
    #[case::other_case("Authorization_Code", CODE, true, Err(Refused::UnsupportedGrantType))]
    #[case::jwt("urn:ietf:params:oauth:grant-type:jwt-bearer", CREDENTIALS, true, Err(Refused::UnsupportedGrantType))]
    fn rfc6749_5_2_what_a_client_is_registered_for(
        #[case] asked: &str,
        #[case] grants: GrantTypes,
        #[case] confidential: bool,
        #[case] expected: Result<Kind, Refused>,
    ) {
        let client = OAuthClient {
            id: ClientId::parse("mcpc_a").unwrap(),
            source: Source::Dynamic,
            name: "A".to_owned(),
            redirect_uris: Vec::new(),
            grants,
            authentication: if confidential { Authentication::SecretBasic } else { Authentication::None },
            secrets: Vec::new(),
            scopes: ScopeLimit::Any,
            servers: Vec::new(),
            uri: None,
        };
        let query = format!("grant_type={asked}");
        assert_eq!(kind(&Parameters::of_query(&query).unwrap(), &client), expected);
    }
}
