//! `[kubernetes]`, `[mirror]` and `[power]`: the cluster, what the Pi has to have for it, and what switches its machines.

use std::net::Ipv4Addr;

use crate::{
    DeviceKind, Image, Kubernetes, Network, Node, PowerDevice, Prefix, Role, Supplies, Url, check,
    section::{At, Refused, Report, Section},
};

const DEFAULT_CLUSTER: &str = "lab";
const DEFAULT_PODS: Prefix = Prefix { base: Ipv4Addr::new(10, 2, 0, 0), length: 16 };
const DEFAULT_SERVICES: Prefix = Prefix { base: Ipv4Addr::new(10, 3, 0, 0), length: 24 };

/// Reads the cluster; its API is where the first controller is, unless told otherwise.
pub(super) fn kubernetes(
    mut section: Section<'_>,
    network: Option<&Network>,
    nodes: &[Node],
    report: &mut Report<'_>,
) -> Option<Kubernetes> {
    let cluster = section.checked(report, "cluster", check::label);
    let version = section.checked(report, "version", check::semantic_version);
    let pods = section.checked(report, "pods", check::prefix);
    let services = section.checked(report, "services", check::prefix);
    let api = section.checked(report, "api", check::host);
    let names = section.checked_list(report, "names", check::host);
    let delegate = section.truth(report, "delegate-signing");
    let (span, refused) = (section.span(), section.has("api") && api.is_none());
    section.finish(report);

    let blocks = [(pods.as_ref(), DEFAULT_PODS), (services.as_ref(), DEFAULT_SERVICES)];
    let [pods, services] = blocks.map(|(at, usual)| at.map_or(usual, |at| at.value));
    let own = network.map(|network| {
        let base = network.address.to_bits() & network.mask().to_bits();
        Prefix { base: Ipv4Addr::from_bits(base), length: network.prefix }
    });
    let mut collide = |at: Option<&At<Prefix>>, key: &str, what: String| match at {
        Some(at) => report.refuse(at, Refused::new(what)),
        None => report.add(span.clone(), key, what, Some("choose others".to_owned())),
    };
    if pods.overlaps(services) {
        let what = format!("services {services} and pods {pods} overlap");
        collide(blocks[1].0.or(blocks[0].0), "kubernetes.services", what);
    }
    for ((at, block), key) in blocks.into_iter().zip(["kubernetes.pods", "kubernetes.services"]) {
        let block = at.map_or(block, |at| at.value);
        if let Some(own) = own.filter(|own| own.overlaps(block)) {
            collide(at, key, format!("{block} overlaps the lab's own network {own}"));
        }
    }
    let controller = nodes.iter().find(|node| node.role == Some(Role::Controller));
    let api = api.map(|at| at.value).or_else(|| Some(controller?.address?.to_string()));
    if api.is_none() && !refused {
        let hint = "give a node role = \"controller\" and an address, or add `api = \"10.77.0.11\"`";
        report.add(span, "kubernetes.api", "nobody knows where the API is", Some(hint.to_owned()));
    }
    Some(Kubernetes {
        cluster: cluster.map_or(DEFAULT_CLUSTER.to_owned(), |at| at.value),
        version: version.map(|at| at.value),
        pods,
        services,
        api: api?,
        names: names.into_iter().map(|at| at.value).collect(),
        delegate_signing: delegate.is_some_and(|at| at.value),
    })
}

/// Reads what the Pi has to have.
pub(super) fn supplies(mut section: Section<'_>, report: &mut Report<'_>) -> Supplies {
    let urls = section.sections(report, "urls");
    let images = section.checked_list(report, "images", check::image);
    let cni_plugins = section.checked(report, "cni-plugins", check::semantic_version);
    let refresh = section.truth(report, "refresh");
    section.finish(report);
    let mut paths = super::Seen::default();
    let urls = urls.into_iter().filter_map(|mut section| {
        let url = section.needed(report, "url", "\"https://…\"", check::url);
        let sha256 = section.needed(report, "sha256", "\"…\"", check::sha256);
        let path = section.checked(report, "path", check::asset);
        section.finish(report);
        let url = url?;
        let path = match path {
            Some(path) => path,
            None => {
                let last = url.value.rsplit('/').next().unwrap_or_default();
                let at = At { value: last, span: url.span.clone(), key: url.key.clone() };
                at.read(report, |text| {
                    check::asset(text).map_err(|refused| refused.hint("add `path = \"…\"`"))
                })?
            }
        };
        let path = paths.once("path", path, report)?;
        Some(Url { url: url.value, sha256: sha256?.value, path })
    });
    let urls: Vec<Url> = urls.collect();
    let images: Vec<Image> = images.into_iter().map(|at| at.value).collect();
    Supplies {
        urls,
        images,
        cni_plugins: cni_plugins.map(|at| at.value),
        refresh: refresh.map(|at| at.value),
    }
}

/// Reads something that switches machines.
pub(super) fn power_device(
    _: &str,
    mut section: Section<'_>,
    report: &mut Report<'_>,
) -> Option<PowerDevice> {
    let kind = section.needed(report, "kind", "\"web-switch\"", |text| {
        check::choice(text, "kind of power device", &DeviceKind::NAMES)
    });
    let url = section.needed(report, "url", "\"http://10.77.0.250\"", check::url);
    let certificate = section.checked(report, "certificate-sha256", check::sha256);
    let recover = section.truth(report, "recover");
    section.finish(report);
    if let (Some(certificate), Some(url)) = (&certificate, &url)
        && url.value.starts_with("http://")
    {
        report.refuse(certificate, Refused::new("there is no certificate where the url begins with http://"));
    }
    Some(PowerDevice {
        kind: kind?.value,
        url: url?.value.trim_end_matches('/').to_owned(),
        certificate: certificate.map(|at| at.value),
        recover: recover.is_none_or(|at| at.value),
    })
}
