//! `prompt` (OpenID Connect Core §3.1.2.1, which OAuth clients send too).

use super::refused::Refused;
use crate::authserver::parameters::Parameters;

/// How the person may be, or has to be, asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    /// No page may be shown.
    pub(super) none: bool,
    /// Log in, even who is logged in.
    pub(super) login: bool,
    /// Ask, even what was agreed to before.
    pub(super) consent: bool,
}

impl Prompt {
    /// The prompt of a request. Values that are not known ask for nothing.
    pub(super) fn of(parameters: &Parameters<'_>) -> Result<Self, Refused> {
        let mut prompt = Self::default();
        let mut values = 0;
        for value in parameters.get("prompt").unwrap_or_default().split(' ').filter(|value| !value.is_empty()) {
            values += 1;
            match value {
                "none" => prompt.none = true,
                "login" | "select_account" => prompt.login = true,
                "consent" => prompt.consent = true,
                _ => {}
            }
        }
        if prompt.none && values > 1 { Err(Refused::Prompt) } else { Ok(prompt) }
    }
}

/// The query without what [`Prompt::login`] came from: where the browser goes once the person has logged in. Nothing
/// is proven to the client by it, so that a person who takes it out deceives nobody.
pub(super) fn without_login(query: &str) -> String {
    let mut kept = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name == "prompt" {
            let others: Vec<_> =
                value.split(' ').filter(|value| !["login", "select_account"].contains(value)).collect();
            if !others.is_empty() {
                kept.append_pair(&name, &others.join(" "));
            }
        } else {
            kept.append_pair(&name, &value);
        }
    }
    kept.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const ASK: Prompt = Prompt { none: false, login: false, consent: false };

    #[rstest]
    #[case::absent("", Ok(ASK))]
    #[case::none("prompt=none", Ok(Prompt { none: true, ..ASK }))]
    #[case::login("prompt=login", Ok(Prompt { login: true, ..ASK }))]
    #[case::account("prompt=select_account", Ok(Prompt { login: true, ..ASK }))]
    #[case::consent("prompt=consent", Ok(Prompt { consent: true, ..ASK }))]
    #[case::both("prompt=login+consent", Ok(Prompt { login: true, consent: true, ..ASK }))]
    #[case::unknown("prompt=create", Ok(ASK))]
    #[case::none_and_more("prompt=none+login", Err(Refused::Prompt))]
    #[case::none_and_unknown("prompt=create+none", Err(Refused::Prompt))]
    #[case::another_case("prompt=NONE", Ok(ASK))]
    fn openid_connect_3_1_2_1(#[case] query: &str, #[case] expected: Result<Prompt, Refused>) {
        assert_eq!(Prompt::of(&Parameters::of_query(query).unwrap()), expected);
    }

    #[rstest]
    #[case("state=a+b&prompt=login", "state=a+b")]
    #[case("prompt=login+consent&scope=x%20y", "prompt=consent&scope=x+y")]
    #[case("prompt=select_account%20login&resource=a&resource=b", "resource=a&resource=b")]
    #[case("prompt=consent&state=%26prompt%3Dlogin", "prompt=consent&state=%26prompt%3Dlogin")]
    #[case("state=", "state=")]
    fn a_login_that_was_done_is_not_asked_for_again(#[case] query: &str, #[case] kept: &str) {
        assert_eq!(without_login(query), kept);
    }
}
