//! Rows into types, and types into parameters.

use lumoauth_core::{ClientId, ResourceUri, ScopeSet, UnixTime};
use serde::{Deserialize, Serialize};
use sqlx::{
    Any, ColumnIndex, Decode, Row as _, Type,
    any::{AnyArguments, AnyRow},
    query::Query as SqlxQuery,
};

use super::StoreError;
use crate::authserver::artefact::Digest;

/// A statement with its parameters.
pub(super) type Query = SqlxQuery<'static, Any, AnyArguments>;

/// A statement. Parameters are `$1`, `$2`, … in the order of `bind`: both databases read them so.
pub(super) fn sql(text: &'static str) -> Query {
    sqlx::query(text)
}

/// A time as a parameter.
pub(super) fn time(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Reads columns by name, into types.
pub(super) trait Columns {
    /// A column as the driver has it.
    fn get<'r, T: Decode<'r, Any> + Type<Any>>(&'r self, column: &'static str) -> Result<T, StoreError>;

    /// A text, parsed.
    fn parsed<T>(&self, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        parse(self.get(column)?).ok_or(StoreError::Corrupt(column))
    }

    /// A digest.
    fn digest(&self, column: &'static str) -> Result<Digest, StoreError> {
        self.parsed(column, Digest::parse)
    }

    /// A client identifier.
    fn client(&self, column: &'static str) -> Result<ClientId, StoreError> {
        self.parsed(column, |text| ClientId::parse(text).ok())
    }

    /// A flag.
    fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        Ok(self.get::<i64>(column)? != 0)
    }

    /// A number that is never negative.
    fn number(&self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.get::<i64>(column)?).map_err(|_| StoreError::Corrupt(column))
    }

    /// A number below 2³².
    fn small(&self, column: &'static str) -> Result<u32, StoreError> {
        u32::try_from(self.get::<i64>(column)?).map_err(|_| StoreError::Corrupt(column))
    }

    /// A time.
    fn time(&self, column: &'static str) -> Result<UnixTime, StoreError> {
        self.number(column).map(UnixTime)
    }

    /// A time that may not have come.
    fn optional_time(&self, column: &'static str) -> Result<Option<UnixTime>, StoreError> {
        let value = self.get::<Option<i64>>(column)?;
        let value = value.map(u64::try_from).transpose().map_err(|_| StoreError::Corrupt(column))?;
        Ok(value.map(UnixTime))
    }

    /// Scopes, as RFC 6749 §3.3 writes them.
    fn scopes(&self, column: &'static str) -> Result<ScopeSet, StoreError> {
        self.parsed(column, |text| ScopeSet::parse(text).ok())
    }

    /// What [`resources`] wrote.
    fn resources(&self, column: &'static str) -> Result<Vec<(ResourceUri, ScopeSet)>, StoreError> {
        let stored: Vec<Granted> = self.parsed(column, |text| serde_json::from_str(text).ok())?;
        let read = |granted: Granted| Some((ResourceUri::parse(&granted.resource).ok()?, granted.scopes));
        stored.into_iter().map(read).collect::<Option<_>>().ok_or(StoreError::Corrupt(column))
    }
}

impl Columns for AnyRow {
    fn get<'r, T: Decode<'r, Any> + Type<Any>>(&'r self, column: &'static str) -> Result<T, StoreError>
    where
        &'static str: ColumnIndex<Self>,
    {
        Ok(self.try_get(column)?)
    }
}

#[derive(Serialize, Deserialize)]
struct Granted {
    resource: String,
    scopes: ScopeSet,
}

/// Resources and their scopes as a parameter.
pub(super) fn resources(resources: &[(ResourceUri, ScopeSet)]) -> String {
    let write = |(resource, scopes): &(ResourceUri, ScopeSet)| Granted {
        resource: resource.as_str().to_owned(),
        scopes: scopes.clone(),
    };
    json(&resources.iter().map(write).collect::<Vec<_>>())
}

/// A list as a parameter.
pub(super) fn json<T: Serialize>(list: &[T]) -> String {
    // Strings and lists of them: always JSON.
    serde_json::to_string(list).unwrap_or_else(|error| unreachable!("{error}"))
}
