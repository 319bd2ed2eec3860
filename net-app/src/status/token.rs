//! Who may have something done: whoever has the token of the command line.

use alloc::string::String;
use core::convert::Infallible;
use core::str::FromStr;

use picoserve::extract::FromRequestParts;
use picoserve::request::RequestParts;
use picoserve::response::StatusCode;

/// `token=` on the command line: a secret that whoever may have something done has as well.
#[derive(Clone, Default)]
pub(super) struct Token(String);

impl FromStr for Token {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.into()))
    }
}

impl Token {
    /// Whether somebody with these credentials may have something done. Without a token on the
    /// command line, nobody may.
    pub(super) fn admits(&self, bearer: &Bearer) -> Result<(), (StatusCode, &'static str)> {
        let said = bearer.0.as_deref().unwrap_or_default();
        // All bytes are looked at, however wrong the first is: how long that takes tells nothing.
        let differ = said.bytes().zip(self.0.bytes()).fold(0, |all, (a, b)| all | a ^ b);
        if self.0.is_empty() {
            Err((StatusCode::FORBIDDEN, "there is no token= on the kernel command line\n"))
        } else if said.len() != self.0.len() || differ != 0 {
            Err((StatusCode::UNAUTHORIZED, "Authorization: Bearer and the token are missing\n"))
        } else {
            Ok(())
        }
    }
}

/// Credentials of a request (RFC 6750, section 2.1), if it has any. A page of another site cannot
/// have a browser send them: it would ask whether it may first, and is not told so.
pub(super) struct Bearer(Option<String>);

impl<'r, State> FromRequestParts<'r, State> for Bearer {
    type Rejection = Infallible;

    async fn from_request_parts(
        _: &'r State,
        request: &RequestParts<'r>,
    ) -> Result<Self, Self::Rejection> {
        let header = request.headers().get("Authorization");
        let credentials = header.and_then(|value| value.as_str().ok());
        let token = credentials.and_then(|said| said.strip_prefix("Bearer "));
        Ok(Self(token.map(|token| token.trim().into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_token_is_admitted_and_without_one_nobody_is() {
        let admits = |token: &str, said: Option<&str>| {
            let Ok(token) = token.parse::<Token>();
            token.admits(&Bearer(said.map(Into::into))).map_err(|(status, _)| status)
        };
        assert_eq!(admits("secret", Some("secret")), Ok(()));
        for said in [None, Some(""), Some("s"), Some("secreT"), Some("secret2"), Some("Secret")] {
            assert_eq!(admits("secret", said), Err(StatusCode::UNAUTHORIZED), "{said:?}");
        }
        for said in [None, Some(""), Some("secret")] {
            assert_eq!(admits("", said), Err(StatusCode::FORBIDDEN), "{said:?}");
        }
    }
}
