//! What a cloud's answer means.
//!
//! The library gives the answer as text only. Of that text this keeps what a person needs, the code and the message,
//! and nothing else: some stores repeat the session token or the string that was signed.

use object_store::Error as StoreError;
use object_store::client::HttpError;

use crate::error::causes;

/// Longer messages are cut: one line is read, ten are not.
const MESSAGE_CHARACTERS_MAX: usize = 200;

/// What is wrong, by what a person does about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Nobody answered.
    Away,
    /// No bucket or container of that name.
    NoBucket,
    /// The bucket is in another region, perhaps in this one.
    Region(Option<String>),
    /// The credentials are wrong or expired.
    Credentials,
    /// The credentials are good, and may not do this.
    Denied,
    /// No room left.
    Full,
    /// Nothing of the above: a 5xx, a broken answer.
    Other,
}

/// What a cloud said, in one line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Said(String);

/// What an error means, if a cloud is at its root, and what there is to say about it.
pub(crate) fn read(error: &StoreError) -> Option<(Meaning, Said)> {
    let text = error.to_string();
    if text.contains("redirect without LOCATION") {
        return Some((Meaning::Region(None), Said("it redirects".to_owned())));
    }
    let Some((_, answer)) = text.split_once("status code: ").or_else(|| text.split_once("error response: "))
    else {
        return transport(error);
    };
    let status = answer.get(..3).and_then(|digits| digits.parse::<u16>().ok());
    let code = tagged(answer, "Code").or_else(|| member(answer, "error")).unwrap_or_default();
    let region = tagged(answer, "Region");
    let meaning = match (status, code) {
        (_, "NoSuchBucket" | "ContainerNotFound") => Meaning::NoBucket,
        (Some(301 | 302 | 307 | 308), _)
        | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            Meaning::Region(region.map(str::to_owned))
        }
        (_, code) if CREDENTIALS.contains(&code) => Meaning::Credentials,
        (Some(507), _) | (_, "XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage") => Meaning::Full,
        (Some(401), _) => Meaning::Credentials,
        (Some(403), _) => Meaning::Denied,
        _ => Meaning::Other,
    };
    let message =
        tagged(answer, "Message").or_else(|| member(answer, "error_description")).unwrap_or_default();
    let status = status.map(|status| format!("HTTP {status}")).unwrap_or_default();
    let head =
        [status.as_str(), code].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    // Azure adds lines with the request's id and the time.
    let message: String =
        message.lines().next().unwrap_or_default().chars().take(MESSAGE_CHARACTERS_MAX).collect();
    let parts = [head, message.trim_end_matches('.').to_owned()];
    Some((meaning, Said(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))))
}

/// What the clouds, and those that give out their credentials, call credentials that are no good.
const CREDENTIALS: [&str; 17] = [
    "AuthFailure",
    "AuthenticationFailed",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "InvalidToken",
    "NoAuthenticationInformation",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
];

/// An error on the way: the last cause tells the most, and holds no address with a signature in it.
fn transport(error: &StoreError) -> Option<(Meaning, Said)> {
    let (mut on_the_way, mut last) = (false, String::new());
    for cause in causes(error) {
        on_the_way |= cause.is::<HttpError>();
        last = cause.to_string();
    }
    on_the_way.then_some((Meaning::Away, Said(last)))
}

/// The text of an XML element that has no elements in it.
fn tagged<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once('<')?.0)
}

/// A text member of a JSON object.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\"{name}\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, meaning: Meaning, said: &str) {
        let text =
            format!("Error performing GET http://x in 1ms - Server returned non-2xx status code: {answer}");
        let error = StoreError::Generic { store: "S3", source: text.into() };
        assert_eq!(read(&error), Some((meaning, Said(said.to_owned()))), "{answer}");
    }

    #[test]
    fn answers() {
        check(
            "400 Bad Request: <Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><Token-0>secret</Token-0></Error>",
            Meaning::Credentials,
            "HTTP 400 ExpiredToken: The provided token has expired",
        );
        check(
            "400 Bad Request: <Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is wrong</Message><Region>eu-central-1</Region></Error>",
            Meaning::Region(Some("eu-central-1".to_owned())),
            "HTTP 400 AuthorizationHeaderMalformed: the region 'us-east-1' is wrong",
        );
        check("301 Moved Permanently: ", Meaning::Region(None), "HTTP 301");
        check(
            "404 Not Found: <Error><Code>NoSuchBucket</Code></Error>",
            Meaning::NoBucket,
            "HTTP 404 NoSuchBucket",
        );
        check(
            "403 Forbidden: <Error><Code>AuthenticationFailed</Code><Message>Server failed.\nRequestId:1</Message></Error>",
            Meaning::Credentials,
            "HTTP 403 AuthenticationFailed: Server failed",
        );
        check(
            "400 Bad Request: {\"error\": \"invalid_grant\", \"error_description\": \"Invalid JWT Signature.\"}",
            Meaning::Credentials,
            "HTTP 400 invalid_grant: Invalid JWT Signature",
        );
        check(
            "403 Forbidden: <Error><Code>AccessDenied</Code></Error>",
            Meaning::Denied,
            "HTTP 403 AccessDenied",
        );
        check("401 Unauthorized: ", Meaning::Credentials, "HTTP 401");
        check("507 Insufficient Storage: ", Meaning::Full, "HTTP 507");
        check("502 Bad Gateway: <html>token</html>", Meaning::Other, "HTTP 502");
    }

    #[test]
    fn what_is_of_no_cloud_is_left_alone() {
        let error = StoreError::Generic { store: "LocalFileSystem", source: "no".into() };
        assert_eq!(read(&error), None);
    }
}
