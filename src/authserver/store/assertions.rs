//! Client assertions (RFC 7523) that were seen.

use lumoauth_core::{ClientId, UnixTime};

use super::{
    Store, StoreError,
    rows::{sql, time},
};
use crate::{authserver::artefact::Digest, registry::OrgId};

impl Store {
    /// Claims the `jti` of a client's assertion, which is kept until the assertion expires. False: it was seen before.
    pub async fn claim_assertion(
        &self,
        org: &OrgId,
        client: &ClientId,
        jti: &Digest,
        until: UnixTime,
    ) -> Result<bool, StoreError> {
        let query = sql("INSERT INTO assertions (org, client, jti, until) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (org, client, jti) DO NOTHING")
        .bind(org.as_str())
        .bind(client.as_str())
        .bind(jti.to_string())
        .bind(time(until));
        Ok(self.run(query).await? == 1)
    }
}
