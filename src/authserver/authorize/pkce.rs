//! `code_challenge` (RFC 7636 §4.3): always, and always by `S256` (RFC 9700 §2.1.1).

use lumoauth_core::pkce::{CodeChallenge, PkceError};

use super::refused::Refused;
use crate::authserver::parameters::Parameters;

/// The challenge of a request.
pub(super) fn challenge(parameters: &Parameters<'_>) -> Result<CodeChallenge, Refused> {
    let challenge = parameters.get("code_challenge").ok_or(Refused::NoChallenge)?;
    CodeChallenge::parse(challenge, parameters.get("code_challenge_method")).map_err(|error| match error {
        PkceError::Method => Refused::ChallengeMethod,
        PkceError::Challenge | PkceError::Verifier => Refused::Challenge,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// RFC 7636 appendix B.
    const S256: &str = "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[rstest]
    #[case::good(format!("{S256}&code_challenge_method=S256"), None)]
    #[case::missing("code_challenge_method=S256".to_owned(), Some(Refused::NoChallenge))]
    #[case::empty("code_challenge=&code_challenge_method=S256".to_owned(), Some(Refused::NoChallenge))]
    #[case::absent_means_plain(S256.to_owned(), Some(Refused::ChallengeMethod))]
    #[case::plain(format!("{S256}&code_challenge_method=plain"), Some(Refused::ChallengeMethod))]
    #[case::lower_case(format!("{S256}&code_challenge_method=s256"), Some(Refused::ChallengeMethod))]
    #[case::short("code_challenge=abc&code_challenge_method=S256".to_owned(), Some(Refused::Challenge))]
    #[case::padded(format!("{S256}%3D&code_challenge_method=S256"), Some(Refused::Challenge))]
    fn rfc7636_4_3(#[case] query: String, #[case] refused: Option<Refused>) {
        assert_eq!(challenge(&Parameters::of_query(&query).unwrap()).err(), refused);
    }
}
