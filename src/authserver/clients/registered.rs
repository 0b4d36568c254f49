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
        ClientAuthenticationMethod::PrivateKeyJwt => Authentication::PrivateKeyJwt(match client.keys.as_ref()? {
            ClientKeys::Inline(document) => Keys::Inline(document.clone()),
            ClientKeys::Uri(uri) => Keys::Uri(HttpsUrl::parse(uri.as_str()).ok()?),
        }),
        ClientAuthenticationMethod::KubernetesServiceAccount => return None,
    };
    let may = |grant| client.grant_types.contains(&grant);
    Some(OAuthClient {
        id: id.clone(),
        source: Source::Registered(key.clone()),
        name: client.display_name.clone(),
        redirect_uris: client.redirect_uris.clone(),
        grants: GrantTypes {
            authorization_code: may(GrantType::AuthorizationCode),
            refresh_token: may(GrantType::RefreshToken),
            client_credentials: may(GrantType::ClientCredentials),
        },
        authentication,
        secrets: client.secrets.clone(),
        scopes: ScopeLimit::Only(client.scopes.clone()),
        servers: client.servers.clone(),
        uri: None,
    })
}
