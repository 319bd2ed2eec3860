//! Requests that no other site's page made.

use picoserve::extract::FromRequestParts;
use picoserve::request::RequestParts;
use picoserve::response::StatusCode;

/// A request that a person made, or a program, or a page of ours; not one that a page of another
/// site had a browser make. Browsers say so: in `Sec-Fetch-Site` (W3C, "Fetch Metadata Request
/// Headers"), older ones in `Origin` (RFC 6454, section 7).
pub(super) struct OwnSite;

impl<'r, State> FromRequestParts<'r, State> for OwnSite {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(
        _: &'r State,
        request: &RequestParts<'r>,
    ) -> Result<Self, Self::Rejection> {
        let header = |name| request.headers().get(name).and_then(|value| value.as_str().ok());
        let is_ours = is_own_site(header("Sec-Fetch-Site"), header("Origin"), header("Host"));
        is_ours.then_some(Self).ok_or((StatusCode::FORBIDDEN, "not for pages of other sites\n"))
    }
}

fn is_own_site(fetch_site: Option<&str>, origin: Option<&str>, host: Option<&str>) -> bool {
    let is_from_here = match fetch_site {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => true,
    };
    let is_of_here = match origin {
        Some(origin) => origin.strip_prefix("http://").is_some_and(|site| Some(site) == host),
        None => true,
    };
    is_from_here && is_of_here
}

#[cfg(test)]
mod tests {
    use super::is_own_site;

    #[test]
    fn pages_of_other_sites_are_told_from_people_and_programs() {
        let host = Some("10.0.2.15");
        assert!(is_own_site(None, None, host), "a program");
        assert!(is_own_site(Some("none"), None, host), "a person");
        assert!(is_own_site(Some("same-origin"), Some("http://10.0.2.15"), host), "our page");
        for site in ["cross-site", "same-site"] {
            assert!(!is_own_site(Some(site), None, host));
        }
        for origin in ["http://example.org", "https://10.0.2.15", "null", "http://10.0.2.150"] {
            assert!(!is_own_site(None, Some(origin), host));
        }
    }
}
