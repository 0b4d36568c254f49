//! Token Status Lists (draft-ietf-oauth-status-list): which index is whose, and which are revoked.
//!
//! Indexes are leased in blocks and never twice: lists are numbered upwards, and a list is forgotten only when nothing
//! that carries one of its indexes can be alive. The first list of an organization is numbered by the second, so that a
//! database that begins anew, because the one before was lost, gives no index that a living token of before has.

use lumoauth_core::{ClientId, UnixTime, token::MAX_STATUS_INDEXES};
use sqlx::any::AnyRow;

use super::{
    StatusIndex, Store, StoreError,
    rows::{Columns as _, sql, time},
};
use crate::registry::OrgId;

/// How many indexes a list has: as many as a sidecar reads.
pub const LIST_SIZE: u32 = MAX_STATUS_INDEXES;
/// How many indexes are leased at once.
pub const BLOCK_SIZE: u32 = 512;

/// Indexes that their holder alone gives to tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Of which list.
    pub list: u32,
    /// The first one.
    pub first: u32,
    /// How many.
    pub len: u32,
}

/// One bit per token, the least significant bit of a byte first (section 4.1): 1 is revoked.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusBits(Box<[u8]>);

impl StatusBits {
    fn new() -> Self {
        Self(vec![0; LIST_SIZE as usize / 8].into())
    }

    fn set(&mut self, first: u32, length: u32) {
        for index in first..first.saturating_add(length).min(LIST_SIZE) {
            if let Some(byte) = self.0.get_mut(index as usize / 8) {
                *byte |= 1 << (index % 8);
            }
        }
    }

    /// Whether an index is revoked.
    pub fn is_set(&self, index: u32) -> bool {
        self.0.get(index as usize / 8).is_some_and(|byte| byte & 1 << (index % 8) != 0)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for StatusBits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StatusBits({} revoked)", self.0.iter().map(|byte| byte.count_ones()).sum::<u32>())
    }
}

/// What is revoked of a list. One statement, so one moment: a row of length 0 says that the list is there.
pub(super) const LIST: &str = "SELECT idx AS first_index, 1 AS length FROM grants \
     WHERE org = $1 AND list = $2 AND revoked_at IS NOT NULL \
     UNION ALL SELECT idx, 1 FROM status_revoked WHERE org = $1 AND list = $2 \
     UNION ALL SELECT first_index, length FROM status_blocks WHERE org = $1 AND list = $2 AND revoked_at IS NOT NULL \
     UNION ALL SELECT 0, 0 WHERE EXISTS (SELECT 1 FROM status_blocks WHERE org = $1 AND list = $2) \
     OR EXISTS (SELECT 1 FROM grants WHERE org = $1 AND list = $2)";

/// The number of an organization's first list. Later ones count on from it, and never overtake the seconds: it would
/// take 131 072 tokens in each.
fn first_list(now: UnixTime) -> i64 {
    i64::from(u32::try_from(now.0).unwrap_or(u32::MAX / 2).max(1))
}

impl Store {
    /// Leases a block: for tokens of `client` itself, or for grants. No token with an index of it may live after
    /// `until`; a grant keeps its own index for longer. None: the client is disabled.
    ///
    /// A block is revoked with its client and never used again, also when the client is enabled later. Its holder may
    /// be the last to hear: ask [`Store::is_revoked`] before each use, and lease a new block when it is.
    pub async fn lease_block(
        &self,
        org: &OrgId,
        client: Option<&ClientId>,
        until: UnixTime,
        now: UnixTime,
    ) -> Result<Option<Block>, StoreError> {
        let mut writer = self.change(org).await?;
        let next = sql("UPDATE orgs SET list = CASE WHEN list = 0 THEN $5 \
                        WHEN next_index + $2 > $3 THEN list + 1 ELSE list END, \
                        next_index = CASE WHEN next_index + $2 > $3 THEN $2 ELSE next_index + $2 END \
                        WHERE org = $1 AND NOT EXISTS \
                        (SELECT 1 FROM disabled_clients d WHERE d.org = orgs.org AND d.client = $4) \
                        RETURNING list, next_index")
        .bind(org.as_str())
        .bind(i64::from(BLOCK_SIZE))
        .bind(i64::from(LIST_SIZE))
        .bind(client.map(ClientId::as_str))
        .bind(first_list(now));
        let read = |row: &AnyRow| {
            let first = row.small("next_index")?.saturating_sub(BLOCK_SIZE);
            Ok(Block { list: row.small("list")?, first, len: BLOCK_SIZE })
        };
        let Some(block) = writer.row(next, read).await? else {
            writer.rollback().await?;
            return Ok(None);
        };
        let insert = sql("INSERT INTO status_blocks (org, list, first_index, length, client, until) \
                          VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(org.as_str())
        .bind(i64::from(block.list))
        .bind(i64::from(block.first))
        .bind(i64::from(block.len))
        .bind(client.map(ClientId::as_str))
        .bind(time(until));
        writer.run(insert).await?;
        writer.commit().await?;
        Ok(Some(block))
    }

    /// Revokes the one token with this index, which ends at `until`.
    pub async fn revoke_index(&self, org: &OrgId, index: StatusIndex, until: UnixTime) -> Result<(), StoreError> {
        let query = sql("INSERT INTO status_revoked (org, list, idx, until) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (org, list, idx) DO UPDATE SET until = excluded.until \
                         WHERE excluded.until > status_revoked.until")
        .bind(org.as_str())
        .bind(i64::from(index.list))
        .bind(i64::from(index.index))
        .bind(time(until));
        self.run(query).await.map(drop)
    }

    /// The list's bits; none when no living token can have an index of it.
    pub async fn status_list(&self, org: &OrgId, list: u32) -> Result<Option<StatusBits>, StoreError> {
        let query = sql(LIST).bind(org.as_str()).bind(i64::from(list));
        let revoked = self.rows(query, |row| Ok((row.small("first_index")?, row.small("length")?))).await?;
        if revoked.is_empty() {
            return Ok(None);
        }
        let mut bits = StatusBits::new();
        for (first, length) in revoked {
            bits.set(first, length);
        }
        Ok(Some(bits))
    }

    /// Whether tokens with this index are revoked.
    pub async fn is_revoked(&self, org: &OrgId, index: StatusIndex) -> Result<bool, StoreError> {
        let query = sql("SELECT 1 AS found FROM grants \
                         WHERE org = $1 AND list = $2 AND idx = $3 AND revoked_at IS NOT NULL \
                         UNION ALL SELECT 1 FROM status_revoked WHERE org = $1 AND list = $2 AND idx = $3 \
                         UNION ALL SELECT 1 FROM status_blocks WHERE org = $1 AND list = $2 \
                         AND first_index <= $3 AND first_index + length > $3 AND revoked_at IS NOT NULL")
        .bind(org.as_str())
        .bind(i64::from(index.list))
        .bind(i64::from(index.index));
        self.finds(query).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draft_4_1_least_significant_bit_first() {
        let mut bits = StatusBits::new();
        bits.set(0, 1);
        bits.set(9, 2);
        bits.set(LIST_SIZE - 1, 8);
        assert_eq!(bits.as_bytes().len(), 16_384);
        assert_eq!(bits.as_bytes()[..2], [0b1, 0b110]);
        assert_eq!(bits.as_bytes()[16_383], 0b1000_0000);
        assert!(bits.is_set(0) && bits.is_set(9) && bits.is_set(10) && bits.is_set(LIST_SIZE - 1));
        assert!(!bits.is_set(1) && !bits.is_set(8) && !bits.is_set(11) && !bits.is_set(LIST_SIZE));
    }
}
