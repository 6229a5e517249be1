//! What templates may use.

use std::collections::BTreeMap;

use pilotlight_lab::{Lab, Node, Variable};
use serde::Serialize;

/// Everything that a template sees.
#[derive(Debug, Serialize)]
pub(crate) struct Context<'a> {
    node: About<'a>,
    network: Network<'a>,
    /// Every node of the lab, in the order of the file.
    nodes: Vec<About<'a>>,
    variables: BTreeMap<&'a str, Value<'a>>,
    ssh_keys: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<Kubernetes<'a>>,
}

/// What the lab says of a node; what it does not say is left out, so that asking for it is an error.
#[derive(Debug, Serialize)]
struct About<'a> {
    name: &'a str,
    fqdn: String,
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    /// Where its own texts are, with a last slash.
    url: String,
}

#[derive(Debug, Serialize)]
struct Network<'a> {
    domain: &'a str,
    server: String,
    prefix: u8,
    dns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    router: Option<String>,
    /// Where the Pi's files are, without a last slash.
    assets: String,
}

#[derive(Debug, Serialize)]
struct Kubernetes<'a> {
    cluster: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    pods: String,
    services: String,
    api: &'a str,
    api_service: String,
    dns_service: String,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Text(&'a str),
    Integer(i64),
    Truth(bool),
    List(Vec<Value<'a>>),
}

impl<'a> Context<'a> {
    pub(crate) fn new(lab: &'a Lab, node: &'a Node) -> Self {
        let network = &lab.network;
        Self {
            node: about(lab, node),
            network: Network {
                domain: &network.domain,
                server: network.address.to_string(),
                prefix: network.prefix,
                dns: network.dns.iter().map(ToString::to_string).collect(),
                router: network.router.map(|router| router.to_string()),
                assets: format!("http://{}/assets", network.address),
            },
            nodes: lab.nodes.iter().map(|node| about(lab, node)).collect(),
            variables: node
                .variables
                .iter()
                .map(|(name, value)| (name.as_str(), self::value(value)))
                .collect(),
            ssh_keys: &node.ssh_keys,
            kubernetes: lab.kubernetes.as_ref().map(|cluster| Kubernetes {
                cluster: &cluster.cluster,
                version: cluster.version.as_deref(),
                pods: cluster.pods.to_string(),
                services: cluster.services.to_string(),
                api: &cluster.api,
                api_service: cluster.api_service().to_string(),
                dns_service: cluster.dns_service().to_string(),
            }),
        }
    }
}

fn about<'a>(lab: &'a Lab, node: &'a Node) -> About<'a> {
    About {
        name: &node.name,
        fqdn: format!("{}.{}", node.name, lab.network.domain),
        mac: node.mac.to_string(),
        address: node.address.map(|address| address.to_string()),
        group: node.group.as_deref(),
        role: node.role.map(|role| role.name()),
        profile: node.profile.as_deref(),
        channel: lab.followed(node).map(|(_, channel)| channel).or(node.channel.as_deref()),
        url: url(lab, node),
    }
}

/// Where a node's own texts are, with a last slash.
pub(crate) fn url(lab: &Lab, node: &Node) -> String {
    format!("http://{}/node/{}/", lab.network.address, node.mac.hyphenated())
}

fn value(variable: &Variable) -> Value<'_> {
    match variable {
        Variable::Text(text) => Value::Text(text),
        Variable::Integer(number) => Value::Integer(*number),
        Variable::Truth(truth) => Value::Truth(*truth),
        Variable::List(list) => Value::List(list.iter().map(value).collect()),
    }
}
