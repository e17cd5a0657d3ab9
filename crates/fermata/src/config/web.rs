//! Who may sign in on the page, and how.

use std::net::IpAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use url::{Host, Url};

/// Who may sign in on the page, and how.
#[derive(Debug, Default)]
pub(crate) struct Web {
    /// The users file, if one is named.
    pub(crate) users: Option<PathBuf>,
    /// The page's address as browsers see it: a scheme and a host.
    pub(crate) public_url: Option<Url>,
    /// The identity provider, if there is one.
    pub(crate) provider: Option<Provider>,
}

/// An identity provider that speaks OpenID Connect.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    /// Its address, letter by letter as it writes it itself.
    pub(crate) issuer: String,
    /// As what the page is registered there.
    pub(crate) client_id: String,
    /// With what it shows that it is that; none for a client that is registered as public.
    pub(crate) client_secret: Option<SecretString>,
    /// What people are known by.
    pub(crate) name: NameClaim,
}

/// What of an identity is the name in the users file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameClaim {
    /// The address of mail, if the provider has verified it; else `sub`.
    #[default]
    Email,
    /// A name that some providers let people choose, and others do not.
    PreferredUsername,
    /// The provider's own name for them, which nobody else ever gets.
    Subject,
}

impl Web {
    /// Takes what is set by variable; says what is wrong with it.
    pub(super) fn from(mut named: impl FnMut(&str) -> Option<String>) -> (Self, Vec<String>) {
        let mut wrong = Vec::new();
        let public_url = named("FERMATA_PUBLIC_URL").and_then(|text| {
            let url = origin(&text).ok_or("is no address like https://fermata.example.com, without a path");
            url.map_err(|fault| wrong.push(format!("FERMATA_PUBLIC_URL: {text:?} {fault}"))).ok()
        });
        let issuer = named("FERMATA_OIDC_ISSUER");
        if let Some(fault) = issuer.as_deref().and_then(issuer_fault) {
            wrong.push(format!("FERMATA_OIDC_ISSUER: {fault}"));
        }
        let client_id = named("FERMATA_OIDC_CLIENT_ID");
        let client_secret = named("FERMATA_OIDC_CLIENT_SECRET").map(SecretString::from);
        let name = match named("FERMATA_OIDC_NAME").as_deref() {
            None | Some("email") => NameClaim::Email,
            Some("preferred_username") => NameClaim::PreferredUsername,
            Some("sub") => NameClaim::Subject,
            Some(other) => {
                let all = "email, preferred_username, sub";
                wrong.push(format!("FERMATA_OIDC_NAME: {other:?} is none of {all}"));
                NameClaim::Email
            }
        };
        let provider = match (issuer, client_id) {
            (Some(issuer), Some(client_id)) => Some(Provider { issuer, client_id, client_secret, name }),
            (None, None) => None,
            _ => {
                let both = "FERMATA_OIDC_ISSUER and FERMATA_OIDC_CLIENT_ID";
                wrong.push(format!("{both} belong together; set both or none"));
                None
            }
        };
        (Self { users: named("FERMATA_USERS").map(PathBuf::from), public_url, provider }, wrong)
    }
}

/// An address of a scheme and a host alone.
fn origin(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let alone = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    (web && alone && url.username().is_empty() && url.password().is_none()).then_some(url)
}

fn issuer_fault(text: &str) -> Option<&'static str> {
    let Ok(url) = text.parse::<Url>() else { return Some("is no address like https://login.example.com") };
    let on_this_machine = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let safe = url.scheme() == "https" || url.scheme() == "http" && on_this_machine;
    (!safe).then_some("must begin with https://, or whoever is between could sign in as anybody")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> (Web, Vec<String>) {
        Web::from(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_provider_is_whole_or_not_there() {
        let (web, wrong) = of(&[]);
        assert!(web.provider.is_none() && web.users.is_none() && wrong.is_empty());
        let (web, wrong) = of(&[
            ("FERMATA_OIDC_ISSUER", "https://login.example.com/a"),
            ("FERMATA_OIDC_CLIENT_ID", "fermata"),
            ("FERMATA_OIDC_CLIENT_SECRET", "hush"),
            ("FERMATA_PUBLIC_URL", "https://fermata.example.com"),
        ]);
        assert_eq!(wrong, [] as [&str; 0]);
        assert!(!format!("{web:?}").contains("hush"));
        assert_eq!(web.public_url.unwrap().as_str(), "https://fermata.example.com/");
        let provider = web.provider.unwrap();
        assert_eq!((&*provider.issuer, provider.name), ("https://login.example.com/a", NameClaim::Email));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let (_, wrong) = of(&[
            ("FERMATA_OIDC_ISSUER", "http://login.example.com"),
            ("FERMATA_OIDC_NAME", "nickname"),
            ("FERMATA_PUBLIC_URL", "https://example.com/fermata"),
        ]);
        assert_eq!(wrong.len(), 4, "{wrong:#?}");
        for address in ["ftp://x", "example.com", "https://u:p@example.com", "https://example.com/?a"] {
            assert_eq!(of(&[("FERMATA_PUBLIC_URL", address)]).1.len(), 1, "{address}");
        }
        for address in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://x"] {
            assert_eq!(issuer_fault(address), None, "{address}");
        }
    }
}
