//! Where traces go, by OpenTelemetry's own variables.

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

/// What a trace's requests are added to an endpoint as.
const PATH: &str = "v1/traces";

/// A collector of traces.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Where traces are posted.
    pub(crate) address: Url,
    /// What goes with each post; values are marked as sensitive, since keys are among them.
    pub(crate) headers: HeaderMap,
    /// The service that the spans are of; named after the command unless set.
    pub(crate) service: Option<String>,
    /// The share of traces that are sent.
    pub(crate) share: f64,
}

impl Collector {
    /// Takes what is set by variable; says what is wrong with it, and never shows a value that may be a secret.
    pub(super) fn from(environment: impl Fn(&str) -> Option<String>) -> (Option<Self>, Vec<String>) {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let Some(endpoint) = set("OTEL_EXPORTER_OTLP_ENDPOINT") else { return (None, Vec::new()) };
        let mut wrong = Vec::new();
        let address = address(&endpoint);
        if address.is_none() {
            wrong.push(
                "OTEL_EXPORTER_OTLP_ENDPOINT: it is an address like http://collector:4318, to which /v1/traces is added; what it takes to get in belongs into OTEL_EXPORTER_OTLP_HEADERS"
                    .to_owned(),
            );
        }
        let headers = headers(&set("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default());
        if headers.is_none() {
            wrong.push(
                "OTEL_EXPORTER_OTLP_HEADERS: it is written like name=value,other=value, with %20 for a blank and %2C for a comma"
                    .to_owned(),
            );
        }
        let share = set("OTEL_TRACES_SAMPLER_ARG").map_or(Some(1.0), |text| share(&text));
        if share.is_none() {
            wrong.push(
                "OTEL_TRACES_SAMPLER_ARG: it is the share of traces to send, from 0 to 1, like 0.1"
                    .to_owned(),
            );
        }
        let service = set("OTEL_SERVICE_NAME");
        let collector = address.zip(headers).zip(share);
        (collector.map(|((address, headers), share)| Self { address, headers, service, share }), wrong)
    }
}

fn address(endpoint: &str) -> Option<Url> {
    let mut url: Url = endpoint.parse().ok()?;
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let plain = url.query().is_none() && url.fragment().is_none();
    if !web || !plain || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    url.path_segments_mut().ok()?.pop_if_empty().extend(PATH.split('/'));
    Some(url)
}

fn headers(text: &str) -> Option<HeaderMap> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
    };
    pairs.map(header).collect()
}

fn share(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> (Option<Collector>, Vec<String>) {
        Collector::from(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_an_endpoint_there_is_none() {
        let (collector, wrong) = of(&[("OTEL_EXPORTER_OTLP_HEADERS", "?"), ("OTEL_TRACES_SAMPLER_ARG", "?")]);
        assert!(collector.is_none() && wrong.is_empty());
        assert!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).0.is_none());
    }

    #[test]
    fn a_collector_is_taken_as_it_is_written() {
        let (collector, wrong) = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318/otlp/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20aHVzaA==, x-scope = a%2Cb,"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        assert_eq!(wrong, [] as [&str; 0]);
        let collector = collector.unwrap();
        assert_eq!(collector.address.as_str(), "https://collector:4318/otlp/v1/traces");
        assert_eq!(collector.headers["authorization"], "Basic aHVzaA==");
        assert_eq!(collector.headers["x-scope"], "a,b");
        assert!((collector.share - 0.25).abs() < f64::EPSILON && collector.service.is_none());
        assert!(!format!("{collector:?}").contains("aHVzaA"), "{collector:?}");
        let (plain, _) = of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")]);
        assert_eq!(plain.unwrap().address.as_str(), "http://127.0.0.1:4318/v1/traces");
    }

    #[test]
    fn every_mistake_is_reported_and_no_secret_shown() {
        let (collector, wrong) = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:hush@collector"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hush"),
            ("OTEL_TRACES_SAMPLER_ARG", "10"),
        ]);
        assert!(collector.is_none());
        assert_eq!(wrong.len(), 3, "{wrong:#?}");
        assert!(!wrong.concat().contains("hush"), "{wrong:#?}");
        for endpoint in ["collector:4317", "collector", "ftp://collector", "http://", "http://c/?key=hush"] {
            assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).1.len(), 1, "{endpoint}");
        }
        for share in ["-1", "NaN", "half", "1.1"] {
            let set = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_TRACES_SAMPLER_ARG", share)];
            assert_eq!(of(&set).1.len(), 1, "{share}");
        }
    }
}
