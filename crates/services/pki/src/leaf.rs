//! What the certificates of a cluster say: for whom, good for what, under which authority.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pilotlight_lab::{Kubernetes, Lab, Node, Role};

use crate::Branch;

/// Kubernetes' own group of those who may do anything. kubeadm puts its people into `kubeadm:cluster-admins` instead,
/// which means nothing until kubeadm itself has bound it to a role; here nobody runs kubeadm.
const MASTERS: &str = "system:masters";

const DAY: u64 = 86_400;

/// What a node is given: a certificate for this, or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The API server's own.
    ApiServer,
    /// The API server towards kubelets.
    ApiServerKubeletClient,
    /// The API server towards etcd.
    ApiServerEtcdClient,
    /// The API server towards extensions, in another's name.
    FrontProxyClient,
    /// The controller manager towards the API.
    ControllerManager,
    /// The scheduler towards the API.
    Scheduler,
    /// A kubelet towards the API.
    Kubelet,
    /// A kubelet's own.
    KubeletServing,
    /// etcd towards its clients.
    EtcdServer,
    /// etcd among its members.
    EtcdPeer,
    /// What asks etcd whether it is well.
    EtcdHealthcheck,
    /// No certificate: the key that signs service accounts' tokens.
    ServiceAccount,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ApiServer,
        Self::ApiServerKubeletClient,
        Self::ApiServerEtcdClient,
        Self::FrontProxyClient,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::KubeletServing,
        Self::EtcdServer,
        Self::EtcdPeer,
        Self::EtcdHealthcheck,
        Self::ServiceAccount,
    ];

    /// Its name in questions, paths and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "api-server",
            Self::ApiServerKubeletClient => "api-server-kubelet-client",
            Self::ApiServerEtcdClient => "api-server-etcd-client",
            Self::FrontProxyClient => "front-proxy-client",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeletServing => "kubelet-serving",
            Self::EtcdServer => "etcd-server",
            Self::EtcdPeer => "etcd-peer",
            Self::EtcdHealthcheck => "etcd-healthcheck",
            Self::ServiceAccount => "service-account",
        }
    }

    /// The purpose of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    /// Whether a worker may have it: a kubelet's two, and nothing else.
    pub fn for_worker(self) -> bool {
        matches!(self, Self::Kubelet | Self::KubeletServing)
    }
}

/// A name that a serving certificate is good for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A name of the DNS.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Dns(text.to_owned()), Self::Address)
    }
}

impl From<Ipv4Addr> for Name {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address.into())
    }
}

/// What one certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Who signs it.
    pub branch: Branch,
    /// Its common name: to Kubernetes, the user.
    pub common_name: String,
    /// Its organization: to Kubernetes, the user's group.
    pub organization: Option<&'static str>,
    /// What a server with it may be reached as, each once.
    pub names: Vec<Name>,
    /// Whether a server may show it.
    pub server: bool,
    /// Whether a client may show it.
    pub client: bool,
    /// How long it is good, in seconds.
    pub seconds: u64,
}

/// Why a node has no such certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The lab has no cluster.
    #[error("the lab forms no cluster: lab.toml has no [kubernetes]")]
    NoCluster,
    /// The node does nothing in it.
    #[error("{0} has no role in the cluster: give it one in lab.toml")]
    NoRole(String),
    /// Its role does not have it.
    #[error("{node} is a worker, and what is for {purpose:?} is for controllers alone")]
    NotForRole {
        /// The node.
        node: String,
        /// What it asked for.
        purpose: Purpose,
    },
    /// There is no certificate for it.
    #[error("for {0:?} there is a key and no certificate")]
    Key(Purpose),
}

impl Leaf {
    fn client(branch: Branch, common_name: &str, organization: Option<&'static str>) -> Self {
        Self {
            branch,
            common_name: common_name.to_owned(),
            organization,
            names: Vec::new(),
            server: false,
            client: true,
            seconds: 365 * DAY,
        }
    }

    fn server(branch: Branch, common_name: &str, mut names: Vec<Name>, client: bool) -> Self {
        names.sort();
        names.dedup();
        Self { names, server: true, client, ..Self::client(branch, common_name, None) }
    }
}

/// The certificate that an administrator's kubeconfig has. It is made by an operator's order, never for a node.
pub fn admin_leaf() -> Leaf {
    Leaf::client(Branch::Kubernetes, "kubernetes-admin", Some(MASTERS))
}

/// What this node's certificate for this purpose says, by the lab alone.
///
/// # Errors
/// The lab has no cluster, or the node's role in it does not have such a certificate.
pub fn node_leaf(lab: &Lab, node: &Node, purpose: Purpose) -> Result<Leaf, LeafError> {
    let cluster = cluster_of(lab, node, purpose)?;
    let (kubernetes, etcd) = (Branch::Kubernetes, Branch::Etcd);
    let local = || own_names(lab, node).chain(loopback()).collect();
    Ok(match purpose {
        Purpose::ApiServer => Leaf::server(kubernetes, "kube-apiserver", api_names(lab, cluster), false),
        Purpose::ApiServerKubeletClient => {
            Leaf::client(kubernetes, "kube-apiserver-kubelet-client", Some(MASTERS))
        }
        Purpose::ApiServerEtcdClient => Leaf::client(etcd, "kube-apiserver-etcd-client", None),
        Purpose::FrontProxyClient => Leaf::client(Branch::FrontProxy, "front-proxy-client", None),
        Purpose::ControllerManager => Leaf::client(kubernetes, "system:kube-controller-manager", None),
        Purpose::Scheduler => Leaf::client(kubernetes, "system:kube-scheduler", None),
        Purpose::Kubelet => {
            Leaf::client(kubernetes, &format!("system:node:{}", node.name), Some("system:nodes"))
        }
        Purpose::KubeletServing => Leaf {
            organization: Some("system:nodes"),
            ..Leaf::server(
                kubernetes,
                &format!("system:node:{}", node.name),
                own_names(lab, node).collect(),
                false,
            )
        },
        // etcd's own gateway is a client of it with the server's certificate, so this one is good for both.
        Purpose::EtcdServer | Purpose::EtcdPeer => Leaf::server(etcd, &node.name, local(), true),
        Purpose::EtcdHealthcheck => Leaf::client(etcd, "kube-etcd-healthcheck-client", None),
        Purpose::ServiceAccount => return Err(LeafError::Key(purpose)),
    })
}

/// The cluster in which the node is to have what is for this purpose.
pub(crate) fn cluster_of<'a>(
    lab: &'a Lab,
    node: &Node,
    purpose: Purpose,
) -> Result<&'a Kubernetes, LeafError> {
    let cluster = lab.kubernetes.as_ref().ok_or(LeafError::NoCluster)?;
    let role = node.role.ok_or_else(|| LeafError::NoRole(node.name.clone()))?;
    if role != Role::Controller && !purpose.for_worker() {
        return Err(LeafError::NotForRole { node: node.name.clone(), purpose });
    }
    Ok(cluster)
}

/// What a node is reached as: its name, alone and in the lab's domain, and its address.
fn own_names(lab: &Lab, node: &Node) -> impl Iterator<Item = Name> {
    let full = format!("{}.{}", node.name, lab.network.domain);
    [Name::Dns(node.name.clone()), Name::Dns(full)].into_iter().chain(node.address.map(Name::from))
}

fn loopback() -> [Name; 3] {
    [
        Name::Dns("localhost".to_owned()),
        Name::Address(Ipv4Addr::LOCALHOST.into()),
        Name::Address(Ipv6Addr::LOCALHOST.into()),
    ]
}

/// What the API is reached as: from pods, through the lab's name for it, and at each controller.
fn api_names(lab: &Lab, cluster: &Kubernetes) -> Vec<Name> {
    let inside = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let controllers = lab.nodes.iter().filter(|node| node.role == Some(Role::Controller));
    inside
        .into_iter()
        .map(Name::from)
        .chain([Name::from(cluster.api_service()), Name::from(cluster.api.as_str())])
        .chain(cluster.names.iter().map(|name| Name::from(name.as_str())))
        .chain(controllers.flat_map(|node| own_names(lab, node)))
        .chain(loopback())
        .collect()
}
