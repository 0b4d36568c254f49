//! `state` (RFC 6749 §4.1.1 and appendix A.5): kept for the client, and repeated as it is.

use super::refused::Unproven;
use crate::authserver::parameters::Parameters;

/// The longest `state`, in bytes: some clients put a signed token there.
const MAX_STATE_BYTES: usize = 4096;

/// The `state` of a request. One that a response could not repeat is not answered by a redirect at all: its client would
/// take the answer for somebody else's.
pub(super) fn state(parameters: &Parameters<'_>) -> Result<Option<String>, Unproven> {
    let Some(state) = parameters.get("state") else { return Ok(None) };
    let visible = |byte: u8| (0x20..=0x7e).contains(&byte);
    if state.len() > MAX_STATE_BYTES || !state.bytes().all(visible) {
        return Err(Unproven::State);
    }
    Ok(Some(state.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", Ok(None))]
    #[case("state=", Ok(None))]
    #[case("state=a+b%26c%3Dd%22%3C", Ok(Some("a b&c=d\"<".to_owned())))]
    #[case(&format!("state={}", "x".repeat(4096)), Ok(Some("x".repeat(4096))))]
    #[case(&format!("state={}", "x".repeat(4097)), Err(Unproven::State))]
    #[case("state=a%00", Err(Unproven::State))]
    #[case("state=a%0D%0ASet-Cookie:x", Err(Unproven::State))]
    #[case("state=%7F", Err(Unproven::State))]
    #[case("state=%C3%A9", Err(Unproven::State))]
    #[case("state=%FF", Err(Unproven::State))]
    fn rfc6749_a_5(#[case] query: &str, #[case] expected: Result<Option<String>, Unproven>) {
        assert_eq!(state(&Parameters::of_query(query).unwrap()), expected);
    }
}
