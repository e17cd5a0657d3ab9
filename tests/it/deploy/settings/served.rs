//! The paths that manifests ask, of processes that were started as the manifests say.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::objects::{Objects, Pod, label, list, text, texts};
use super::super::render;
use crate::assert_none;
use crate::fleet::Fleet;
use crate::stage::site;

/// Longer than it takes to start.
const START_MAX: Duration = Duration::from_mins(1);

#[test]
fn every_path_that_is_asked_is_served() {
    let fleet = Fleet::without_tenants(site());
    fleet.stage.fermata("user set ann --role admin").stdin(super::PASSWORD).run().code(0);
    let objects = &render::kustomize("overlays/prod");
    let mut problems = Vec::new();
    for pod in objects.pods().filter(|pod| pod.is_ours()) {
        let component = label(pod.labels(), "component");
        let container = pod.containers().next().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = fleet.fermata(&arguments(container, port)).serve(&format!("{component}.log"));
        let began = Instant::now();
        while status(port, "/readyz") != Some(200) {
            let log = std::fs::read_to_string(fleet.stage.at(&format!("{component}.log"))).unwrap();
            assert!(
                server.ended().is_none() && began.elapsed() < START_MAX,
                "{component} is not ready: {log}"
            );
            fleet.stage.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
        }
        let paths = paths(objects, pod, container);
        assert!(paths.len() >= 4, "{component}: {paths:?}");
        let missing = paths.iter().filter(|path| status(port, path) != Some(200));
        problems.extend(missing.map(|path| format!("{component} does not serve {path}")));
        assert_eq!(status(port, "/surprise"), Some(404), "{component}");
        for (path, location) in scaled_by(objects, pod) {
            let answer = answer(port, &path).unwrap_or_default();
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
            let number = serde_json::from_str(body).ok().and_then(|body: Value| body[&location].as_u64());
            if number.is_none() {
                problems.push(format!("{component} answers {path} without a number {location}: {body}"));
            }
        }
    }
    assert_none(&problems);
}

/// The arguments of a container, with the port of its probes on this machine, and any for its pages.
fn arguments(container: &Value, port: u16) -> String {
    let serves_pages = texts(container, "/args").any(|argument| argument.starts_with("--probes="));
    let probes = if serves_pages { "--probes=" } else { "--listen=" };
    let arguments = texts(container, "/args").map(|argument| {
        if argument.starts_with(probes) {
            format!("{probes}127.0.0.1:{port}")
        } else if argument.starts_with("--listen=") {
            "--listen=127.0.0.1:0".to_owned()
        } else {
            argument.to_owned()
        }
    });
    arguments.collect::<Vec<_>>().join(" ")
}

/// Every path on the port of probes that some object asks of these pods.
fn paths(objects: &Objects, pod: Pod<'_>, container: &Value) -> Vec<String> {
    let probes = ["startupProbe", "livenessProbe", "readinessProbe"];
    let probes = probes.map(|probe| text(container, &format!("/{probe}/httpGet/path")).to_owned());
    let monitors = objects.of("PodMonitor").flat_map(|monitor| list(monitor, "/spec/podMetricsEndpoints"));
    let metrics = monitors.map(|endpoint| text(endpoint, "/path").to_owned());
    let scale = scaled_by(objects, pod).map(|(path, _)| path);
    probes.into_iter().chain(metrics).chain(scale).collect()
}

/// What autoscalers ask of these pods: a path, and the name of the number in its answer.
fn scaled_by<'a>(objects: &'a Objects, pod: Pod<'a>) -> impl Iterator<Item = (String, String)> + 'a {
    let triggers = objects.of("ScaledObject").flat_map(|scaled| list(scaled, "/spec/triggers"));
    triggers.filter_map(move |trigger| {
        let url = url::Url::parse(text(trigger, "/metadata/url")).ok()?;
        let is_its = url.host_str()?.split('.').next() == pod.name().split('/').nth(1);
        is_its.then(|| (url.path().to_owned(), text(trigger, "/metadata/valueLocation").to_owned()))
    })
}

/// The status of an answer, if there is one.
fn status(port: u16, path: &str) -> Option<u16> {
    answer(port, path)?.split(' ').nth(1)?.parse().ok()
}

/// An answer as it comes, if there is one.
fn answer(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
