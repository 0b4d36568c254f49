//! Clients that are McpClient objects.

use lumoauth_core::ClientId;

use super::{Authentication, GrantTypes, Keys, OAuthClient, ScopeLimit, Source, fetch::HttpsUrl};
use crate::{
    api::v1alpha1::{ClientAuthenticationMethod, GrantType},
    registry::{Client, ClientKeys, ObjectKey},
};

/// The client an accepted McpClient means; `None` where it authenticates in a way that is not built.
pub(super) fn client(id: &ClientId, key: &ObjectKey, client: &Client) -> Option<OAuthClient> {
    let authentication = match client.authentication {
        ClientAuthenticationMethod::None => Authentication::None,
        ClientAuthenticationMethod::ClientSecretBasic => Authentication::SecretBasic,
        ClientAuthenticationMethod::ClientSecretPost => Authentication::SecretPost,
        ClientAuthenticationMethod::PrivateKeyJwt => Authentication::PrivateKeyJwt(keys(client.keys.as_ref()?)?),
        ClientAuthenticationMethod::KubernetesServiceAccount => return None,
    };
    Some(OAuthClient {
        id: id.clone(),
        source: Source::Registered(key.clone()),
        name: client.display_name.clone(),
        redirect_uris: client.redirect_uris.clone(),
        grants: GrantTypes {
            authorization_code: client.may_use(GrantType::AuthorizationCode),
            refresh_token: client.may_use(GrantType::RefreshToken),
            client_credentials: client.may_use(GrantType::ClientCredentials),
        },
        authentication,
        secrets: client.secrets.clone(),
        scopes: ScopeLimit::Only(client.scopes.clone()),
        servers: client.servers.clone(),
        uri: None,
    })
}

fn keys(keys: &ClientKeys) -> Option<Keys> {
    match keys {
        ClientKeys::Inline(set) => Some(Keys::Inline(set.clone())),
        ClientKeys::Uri(uri) => HttpsUrl::parse(uri.as_str()).map(Keys::Uri).ok(),
    }
}
