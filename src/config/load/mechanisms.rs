//! The ways to find targets that are not built yet: every key each of them takes in Prometheus 3.14.
//!
//! Such a section is checked as Prometheus checks it, so that `check config` finds its mistakes, and
//! then refused by name when the server is to start with it. Keys, kinds of values and sentences:
//! the `discovery` packages of Prometheus 3.14.

use super::schema::{
    Kind::{
        self, Boolean, Duration, Float, Integer, Name, Secret, Sections, Text, TextMap, Texts, Tls,
        Url,
    },
    Section, Values, anything,
};

/// A way to find targets.
pub(super) struct Mechanism {
    /// The key in `prometheus.yml`.
    pub(super) key: &'static str,
    /// What the list is called in Go's messages.
    pub(super) list_type: &'static str,
    /// One item of the list.
    pub(super) section: Section,
}

/// A mechanism whose client is configured beside its own keys.
const fn over_http(
    key: &'static str,
    list_type: &'static str,
    go_type: &'static str,
    keys: &'static [(&'static str, Kind)],
    check: fn(&Values) -> Result<(), String>,
) -> Mechanism {
    Mechanism {
        key,
        list_type,
        section: Section {
            go_type,
            keys,
            http_client: true,
            check,
        },
    }
}

/// A mechanism that takes its own keys only.
const fn alone(
    key: &'static str,
    list_type: &'static str,
    go_type: &'static str,
    keys: &'static [(&'static str, Kind)],
    check: fn(&Values) -> Result<(), String>,
) -> Mechanism {
    let mut mechanism = over_http(key, list_type, go_type, keys, check);
    mechanism.section.http_client = false;
    mechanism
}

/// Every mechanism but `static_configs` and `file_sd_configs`, by its key.
pub(super) static MECHANISMS: &[Mechanism] = &[
    over_http(
        "aws_sd_configs",
        "[]*aws.SDConfig",
        "aws.plain",
        &[
            ("role", AWS_ROLE),
            ("region", Text),
            ("endpoint", Text),
            ("access_key", Text),
            ("secret_key", Secret),
            ("profile", Text),
            ("role_arn", Text),
            ("external_id", Text),
            ("refresh_interval", Duration),
            ("port", Integer),
            ("filters", AWS_FILTERS),
            ("clusters", Texts),
        ],
        |values| match values.text("role") {
            "" => Err("unknown AWS SD role \"\"".to_owned()),
            _ => Ok(()),
        },
    ),
    over_http(
        "azure_sd_configs",
        "[]*azure.SDConfig",
        "azure.plain",
        &[
            ("environment", Text),
            ("port", Integer),
            ("subscription_id", Text),
            ("tenant_id", Text),
            ("client_id", Text),
            ("client_secret", Secret),
            ("refresh_interval", Duration),
            ("authentication_method", Text),
            ("resource_group", Text),
        ],
        azure,
    ),
    over_http(
        "consul_sd_configs",
        "[]*consul.SDConfig",
        "consul.plain",
        &[
            ("server", Text),
            ("path_prefix", Text),
            ("token", Secret),
            ("datacenter", Text),
            ("namespace", Text),
            ("partition", Text),
            ("tag_separator", Text),
            ("scheme", Text),
            ("username", Text),
            ("password", Secret),
            ("allow_stale", Boolean),
            ("refresh_interval", Duration),
            ("services", Texts),
            ("tags", Texts),
            ("node_meta", TextMap),
            ("filter", Text),
            ("health_filter", Text),
        ],
        consul,
    ),
    over_http(
        "digitalocean_sd_configs",
        "[]*digitalocean.SDConfig",
        "digitalocean.plain",
        &[
            ("refresh_interval", Duration),
            ("port", Integer),
            (
                "role",
                Name {
                    known: &["droplets", "databases"],
                    refusal: |text| format!("unknown DigitalOcean SD role {text:?}"),
                },
            ),
        ],
        anything,
    ),
    alone(
        "dns_sd_configs",
        "[]*dns.SDConfig",
        "dns.plain",
        &[
            ("names", Texts),
            ("refresh_interval", Duration),
            ("type", Text),
            ("port", Integer),
        ],
        dns,
    ),
    over_http(
        "docker_sd_configs",
        "[]*moby.DockerSDConfig",
        "moby.plain",
        &[
            ("host", Url),
            ("port", Integer),
            ("filters", MOBY_FILTERS),
            ("host_networking_host", Text),
            ("refresh_interval", Duration),
            ("match_first_network", Boolean),
        ],
        |values| require(values.is_set("host"), "host missing"),
    ),
    over_http(
        "dockerswarm_sd_configs",
        "[]*moby.DockerSwarmSDConfig",
        "moby.plain",
        &[
            ("host", Url),
            ("role", Text),
            ("port", Integer),
            ("filters", MOBY_FILTERS),
            ("refresh_interval", Duration),
        ],
        |values| {
            require(values.is_set("host"), "host missing")?;
            match values.text("role") {
                "tasks" | "services" | "nodes" => Ok(()),
                "" => Err("role missing (one of: tasks, services, nodes)".to_owned()),
                role => Err(format!(
                    "invalid role {role}, expected tasks, services, or nodes"
                )),
            }
        },
    ),
    over_http(
        "ec2_sd_configs",
        "[]*aws.EC2SDConfig",
        "aws.plain",
        &[
            ("endpoint", Text),
            ("region", Text),
            ("access_key", Text),
            ("secret_key", Secret),
            ("profile", Text),
            ("role_arn", Text),
            ("external_id", Text),
            ("refresh_interval", Duration),
            ("port", Integer),
            ("filters", AWS_FILTERS),
        ],
        |values| {
            let complete = values
                .sections("filters")
                .iter()
                .all(|filter| !filter.texts("values").is_empty());
            require(
                complete,
                "EC2 SD configuration filter values cannot be empty",
            )
        },
    ),
    over_http(
        "ecs_sd_configs",
        "[]*aws.ECSSDConfig",
        "aws.plain",
        AWS_CLUSTERS,
        anything,
    ),
    over_http(
        "elasticache_sd_configs",
        "[]*aws.ElasticacheSDConfig",
        "aws.plain",
        AWS_CLUSTERS,
        anything,
    ),
    over_http(
        "eureka_sd_configs",
        "[]*eureka.SDConfig",
        "eureka.plain",
        &[("server", Url), ("refresh_interval", Duration)],
        |values| {
            let server = values.text("server");
            require(!server.is_empty(), "eureka_sd: empty or null eureka server")?;
            require(
                has_scheme_and_host(server),
                "eureka_sd: invalid eureka server URL",
            )
        },
    ),
    alone(
        "gce_sd_configs",
        "[]*gce.SDConfig",
        "gce.plain",
        &[
            ("project", Text),
            ("zone", Text),
            ("filter", Text),
            ("refresh_interval", Duration),
            ("port", Integer),
            ("tag_separator", Text),
        ],
        |values| {
            require(
                values.is_set("project"),
                "GCE SD configuration requires a project",
            )?;
            require(
                values.is_set("zone"),
                "GCE SD configuration requires a zone",
            )
        },
    ),
    over_http(
        "hetzner_sd_configs",
        "[]*hetzner.SDConfig",
        "hetzner.plain",
        &[
            ("refresh_interval", Duration),
            ("port", Integer),
            (
                "role",
                Name {
                    known: &["robot", "hcloud"],
                    refusal: unknown_role,
                },
            ),
            ("label_selector", Text),
        ],
        |values| {
            require(
                values.is_set("role"),
                "role missing (one of: robot, hcloud)",
            )
        },
    ),
    over_http(
        "http_sd_configs",
        "[]*http.SDConfig",
        "http.plain",
        &[("refresh_interval", Duration), ("url", Url)],
        |values| web_url(values.text("url")),
    ),
    over_http(
        "ionos_sd_configs",
        "[]*ionos.SDConfig",
        "ionos.plain",
        &[
            ("datacenter_id", Text),
            ("refresh_interval", Duration),
            ("port", Integer),
        ],
        |values| {
            require(
                values.is_set("datacenter_id"),
                "datacenter id can't be empty",
            )
        },
    ),
    over_http(
        "kubernetes_sd_configs",
        "[]*kubernetes.SDConfig",
        "kubernetes.plain",
        &[
            ("api_server", Url),
            ("role", KUBERNETES_ROLE),
            ("kubeconfig_file", Text),
            ("namespaces", Kind::Section(&KUBERNETES_NAMESPACES)),
            (
                "selectors",
                Sections(&KUBERNETES_SELECTOR, "[]kubernetes.SelectorConfig"),
            ),
            ("attach_metadata", Kind::Section(&KUBERNETES_METADATA)),
        ],
        kubernetes,
    ),
    over_http(
        "kuma_sd_configs",
        "[]*xds.SDConfig",
        "xds.plainKumaConf",
        &[
            ("server", Url),
            ("refresh_interval", Duration),
            ("fetch_timeout", Duration),
            ("client_id", Text),
        ],
        |values| {
            let server = values.text("server");
            require(!server.is_empty(), "kuma SD server must not be empty: ")?;
            if has_scheme_and_host(server) {
                Ok(())
            } else {
                Err(format!(
                    "kuma SD server must not be empty and have a scheme: {server}"
                ))
            }
        },
    ),
    over_http(
        "lightsail_sd_configs",
        "[]*aws.LightsailSDConfig",
        "aws.plain",
        &[
            ("endpoint", Text),
            ("region", Text),
            ("access_key", Text),
            ("secret_key", Secret),
            ("profile", Text),
            ("role_arn", Text),
            ("external_id", Text),
            ("refresh_interval", Duration),
            ("port", Integer),
        ],
        anything,
    ),
    over_http(
        "linode_sd_configs",
        "[]*linode.SDConfig",
        "linode.plain",
        &[
            ("refresh_interval", Duration),
            ("port", Integer),
            ("tag_separator", Text),
            ("region", Text),
        ],
        anything,
    ),
    over_http(
        "marathon_sd_configs",
        "[]*marathon.SDConfig",
        "marathon.plain",
        &[
            ("servers", Texts),
            ("refresh_interval", Duration),
            ("auth_token", Secret),
            ("auth_token_file", Text),
        ],
        marathon,
    ),
    over_http(
        "msk_sd_configs",
        "[]*aws.MSKSDConfig",
        "aws.plain",
        AWS_CLUSTERS,
        anything,
    ),
    alone(
        "nerve_sd_configs",
        "[]*zookeeper.NerveSDConfig",
        "zookeeper.plain",
        ZOOKEEPER,
        |values| zookeeper(values, "nerve"),
    ),
    over_http(
        "nomad_sd_configs",
        "[]*nomad.SDConfig",
        "nomad.plain",
        &[
            ("allow_stale", Boolean),
            ("namespace", Text),
            ("refresh_interval", Duration),
            ("region", Text),
            ("server", Text),
            ("tag_separator", Text),
        ],
        |values| {
            let server = values.text_or("server", "http://localhost:4646");
            require(
                !server.trim().is_empty(),
                "nomad SD configuration requires a server address",
            )
        },
    ),
    alone(
        "oci_sd_configs",
        "[]*oci.SDConfig",
        "oci.plain",
        &[
            ("auth", Text),
            ("tenancy", Text),
            ("user", Text),
            ("fingerprint", Text),
            ("key_file", Text),
            ("key_passphrase", Secret),
            ("region", Text),
            ("compartments", Texts),
            ("filter", Text),
            ("tag_filter_key", Text),
            ("tag_filter_value", Text),
            ("tag_filter_action", Text),
            ("rate_limit_rps", Float),
            ("port", Integer),
            ("refresh_interval", Duration),
        ],
        oci,
    ),
    alone(
        "openstack_sd_configs",
        "[]*openstack.SDConfig",
        "openstack.plain",
        &[
            ("identity_endpoint", Text),
            ("username", Text),
            ("userid", Text),
            ("password", Secret),
            ("project_name", Text),
            ("project_id", Text),
            ("domain_name", Text),
            ("domain_id", Text),
            ("application_credential_name", Text),
            ("application_credential_id", Text),
            ("application_credential_secret", Secret),
            (
                "role",
                Name {
                    known: &["hypervisor", "instance", "loadbalancer"],
                    refusal: |text| format!("unknown OpenStack SD role {text:?}"),
                },
            ),
            ("region", Text),
            ("refresh_interval", Duration),
            ("port", Integer),
            ("all_tenants", Boolean),
            ("tls_config", Tls),
            ("availability", Text),
        ],
        |values| {
            let availability = values.text_or("availability", "public");
            if !["public", "internal", "admin"].contains(&availability) {
                return Err(format!(
                    "unknown availability {availability}, must be one of admin, internal or public"
                ));
            }
            require(
                values.is_set("role"),
                "role missing (one of: instance, hypervisor, loadbalancer)",
            )?;
            require(
                values.is_set("region"),
                "openstack SD configuration requires a region",
            )
        },
    ),
    over_http(
        "outscale_sd_configs",
        "[]*outscale.SDConfig",
        "outscale.plain",
        &[
            ("endpoint", Text),
            ("region", Text),
            ("access_key", Text),
            ("secret_key", Secret),
            ("refresh_interval", Duration),
            ("port", Integer),
        ],
        |values| {
            require(
                !values.text_or("region", "eu-west-2").is_empty(),
                "outscale SD configuration requires a region",
            )?;
            require(
                values.is_set("access_key") && values.is_set("secret_key"),
                "outscale SD configuration requires access_key and secret_key",
            )
        },
    ),
    alone(
        "ovhcloud_sd_configs",
        "[]*ovhcloud.SDConfig",
        "ovhcloud.plain",
        &[
            ("endpoint", Text),
            ("application_key", Text),
            ("application_secret", Secret),
            ("consumer_key", Secret),
            ("refresh_interval", Duration),
            ("service", Text),
        ],
        |values| {
            let endpoint = values.text_or("endpoint", "ovh-eu");
            require(!endpoint.is_empty(), "endpoint can not be empty")?;
            for (key, sentence) in [
                ("application_key", "application key can not be empty"),
                ("application_secret", "application secret can not be empty"),
                ("consumer_key", "consumer key can not be empty"),
            ] {
                require(values.is_set(key), sentence)?;
            }
            match values.text("service") {
                "vps" | "dedicated_server" => Ok(()),
                service => Err(format!("unknown service: {service}")),
            }
        },
    ),
    over_http(
        "puppetdb_sd_configs",
        "[]*puppetdb.SDConfig",
        "puppetdb.plain",
        &[
            ("refresh_interval", Duration),
            ("url", Url),
            ("query", Text),
            ("include_parameters", Boolean),
            ("port", Integer),
        ],
        |values| {
            web_url(values.text("url"))?;
            require(values.is_set("query"), "query missing")
        },
    ),
    over_http(
        "rds_sd_configs",
        "[]*aws.RDSSDConfig",
        "aws.plain",
        &[
            ("region", Text),
            ("endpoint", Text),
            ("access_key", Text),
            ("secret_key", Secret),
            ("profile", Text),
            ("role_arn", Text),
            ("external_id", Text),
            ("clusters", Texts),
            ("port", Integer),
            ("refresh_interval", Duration),
            ("filters", AWS_FILTERS),
            ("request_concurrency", Integer),
        ],
        anything,
    ),
    over_http(
        "scaleway_sd_configs",
        "[]*scaleway.SDConfig",
        "scaleway.plain",
        &[
            ("project_id", Text),
            ("api_url", Text),
            ("zone", Text),
            ("access_key", Text),
            ("secret_key", Secret),
            ("secret_key_file", Text),
            ("name_filter", Text),
            ("tags_filter", Texts),
            ("refresh_interval", Duration),
            ("port", Integer),
            (
                "role",
                Name {
                    known: &["instance", "baremetal"],
                    refusal: unknown_role,
                },
            ),
        ],
        |values| {
            require(
                values.is_set("role"),
                "role missing (one of: instance, baremetal)",
            )?;
            require(values.is_set("project_id"), "project_id is mandatory")?;
            match (
                values.is_set("secret_key"),
                values.is_set("secret_key_file"),
            ) {
                (false, false) => {
                    Err("one of secret_key & secret_key_file must be configured".to_owned())
                }
                (true, true) => {
                    Err("at most one of secret_key & secret_key_file must be configured".to_owned())
                }
                _ => Ok(()),
            }
        },
    ),
    alone(
        "serverset_sd_configs",
        "[]*zookeeper.ServersetSDConfig",
        "zookeeper.plain",
        ZOOKEEPER,
        |values| zookeeper(values, "serverset"),
    ),
    over_http(
        "stackit_sd_configs",
        "[]*stackit.SDConfig",
        "stackit.plain",
        &[
            ("refresh_interval", Duration),
            ("port", Integer),
            ("region", Text),
            ("endpoint", Url),
            ("project", Text),
            ("service_account_key", Text),
            ("private_key", Text),
            ("service_account_key_path", Text),
            ("private_key_path", Text),
            ("credentials_file_path", Text),
        ],
        |values| {
            require(
                values.is_set("endpoint") || !values.text_or("region", "eu01").is_empty(),
                "endpoint or region missing",
            )
        },
    ),
    alone(
        "triton_sd_configs",
        "[]*triton.SDConfig",
        "triton.plain",
        &[
            ("account", Text),
            ("role", Text),
            ("dns_suffix", Text),
            ("endpoint", Text),
            ("groups", Texts),
            ("port", Integer),
            ("refresh_interval", Duration),
            ("tls_config", Tls),
            ("version", Integer),
        ],
        triton,
    ),
    over_http(
        "uyuni_sd_configs",
        "[]*uyuni.SDConfig",
        "uyuni.plain",
        &[
            ("server", Text),
            ("username", Text),
            ("password", Secret),
            ("entitlement", Text),
            ("separator", Text),
            ("refresh_interval", Duration),
        ],
        |values| {
            for (key, sentence) in [
                ("server", "Uyuni SD configuration requires server host"),
                ("username", "Uyuni SD configuration requires a username"),
                ("password", "Uyuni SD configuration requires a password"),
            ] {
                require(values.is_set(key), sentence)?;
            }
            Ok(())
        },
    ),
    over_http(
        "vultr_sd_configs",
        "[]*vultr.SDConfig",
        "vultr.plain",
        &[("refresh_interval", Duration), ("port", Integer)],
        anything,
    ),
];

const AWS_ROLE: Kind = Name {
    known: &["ec2", "ecs", "elasticache", "lightsail", "msk", "rds"],
    refusal: |text| format!("unknown AWS SD role {text:?}"),
};

const AWS_FILTERS: Kind = Sections(
    &Section {
        go_type: "aws.Filter",
        keys: &[("name", Text), ("values", Texts)],
        http_client: false,
        check: anything,
    },
    "[]*aws.Filter",
);

/// The keys of the services of Amazon that are found by cluster.
const AWS_CLUSTERS: &[(&str, Kind)] = &[
    ("region", Text),
    ("endpoint", Text),
    ("access_key", Text),
    ("secret_key", Secret),
    ("profile", Text),
    ("role_arn", Text),
    ("external_id", Text),
    ("clusters", Texts),
    ("port", Integer),
    ("refresh_interval", Duration),
    ("request_concurrency", Integer),
];

const MOBY_FILTERS: Kind = Sections(
    &Section {
        go_type: "moby.Filter",
        keys: &[("name", Text), ("values", Texts)],
        http_client: false,
        check: anything,
    },
    "[]moby.Filter",
);

const ZOOKEEPER: &[(&str, Kind)] = &[("servers", Texts), ("paths", Texts), ("timeout", Duration)];

const KUBERNETES_ROLE: Kind = Name {
    known: &[
        "node",
        "pod",
        "service",
        "endpoints",
        "endpointslice",
        "ingress",
    ],
    refusal: |text| format!("unknown Kubernetes SD role {text:?}"),
};

static KUBERNETES_NAMESPACES: Section = Section {
    go_type: "kubernetes.plain",
    keys: &[("own_namespace", Boolean), ("names", Texts)],
    http_client: false,
    check: anything,
};

static KUBERNETES_SELECTOR: Section = Section {
    go_type: "kubernetes.SelectorConfig",
    keys: &[("role", KUBERNETES_ROLE), ("label", Text), ("field", Text)],
    http_client: false,
    check: anything,
};

static KUBERNETES_METADATA: Section = Section {
    go_type: "kubernetes.AttachMetadataConfig",
    keys: &[
        ("node", Boolean),
        ("namespace", Boolean),
        ("deployment", Boolean),
        ("job", Boolean),
        ("cronjob", Boolean),
    ],
    http_client: false,
    check: anything,
};

/// Ok when the condition holds, the sentence otherwise.
pub(super) fn require(condition: bool, sentence: &str) -> Result<(), String> {
    if condition {
        Ok(())
    } else {
        Err(sentence.to_owned())
    }
}

fn unknown_role(text: &str) -> String {
    format!("unknown role {text:?}")
}

fn has_scheme_and_host(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.starts_with(['/', '?', '#']) && !rest.is_empty()
    })
}

/// A URL that targets are fetched from.
fn web_url(text: &str) -> Result<(), String> {
    require(!text.is_empty(), "URL is missing")?;
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    require(
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"),
        "URL scheme must be 'http' or 'https'",
    )?;
    require(has_scheme_and_host(text), "host is missing in URL")
}

fn azure(values: &Values) -> Result<(), String> {
    const METHODS: [&str; 4] = ["OAuth", "ManagedIdentity", "SDK", "WorkloadIdentity"];
    let need = |key: &str| {
        require(
            values.is_set(key),
            &format!("azure SD configuration requires a {key}"),
        )
    };
    need("subscription_id")?;
    let method = values.text_or("authentication_method", "OAuth");
    if method == "OAuth" {
        need("tenant_id")?;
        need("client_id")?;
        need("client_secret")?;
    }
    if METHODS.contains(&method) {
        Ok(())
    } else {
        let [first, second, third, fourth] = METHODS;
        Err(format!(
            "unknown authentication_type {method:?}. Supported types are {first:?}, {second:?}, \
             {third:?} or {fourth:?}"
        ))
    }
}

fn consul(values: &Values) -> Result<(), String> {
    let server = values.text_or("server", "localhost:8500");
    require(
        !server.trim().is_empty(),
        "consul SD configuration requires a server address",
    )?;
    let user = values.is_set("username") || values.is_set("password");
    require(
        !(user && values.is_set("basic_auth")),
        "at most one of consul SD configuration username and password and basic auth can be configured",
    )?;
    let other = values.is_set("authorization") || values.is_set("oauth2");
    require(
        !(values.is_set("token") && other),
        "at most one of consul SD token, authorization, or oauth2 can be configured",
    )
}

fn dns(values: &Values) -> Result<(), String> {
    require(
        !values.texts("names").is_empty(),
        "DNS-SD config must contain at least one SRV record name",
    )?;
    let kind = values.text_or("type", "SRV");
    match kind.to_uppercase().as_str() {
        "SRV" => Ok(()),
        "A" | "AAAA" | "MX" | "NS" => require(
            values.integer("port") != 0,
            "a port is required in DNS-SD configs for all record types except SRV",
        ),
        _ => Err(format!("invalid DNS-SD records type {kind}")),
    }
}

fn kubernetes(values: &Values) -> Result<(), String> {
    let role = values.text("role");
    require(
        !role.is_empty(),
        "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)",
    )?;
    let server = values.is_set("api_server");
    if values.is_set("kubeconfig_file") {
        require(
            !server,
            "cannot use 'kubeconfig_file' and 'api_server' simultaneously",
        )?;
        require(
            !values.custom_http_client,
            "cannot use a custom HTTP client configuration together with 'kubeconfig_file'",
        )?;
    }
    require(
        server || !values.custom_http_client,
        "to use custom HTTP client configuration please provide the 'api_server' URL explicitly",
    )?;
    let own_namespace = values
        .section("namespaces")
        .is_some_and(|namespaces| namespaces.boolean("own_namespace"));
    require(
        !(server && own_namespace),
        "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously",
    )?;
    require(
        !(values.is_set("kubeconfig_file") && own_namespace),
        "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously",
    )?;
    let selectable: &[&str] = match role {
        "endpoints" => &["pod", "service", "endpoints"],
        "endpointslice" => &["pod", "service", "endpointslice"],
        _ => &[role],
    };
    let selectors = values.sections("selectors");
    for (index, selector) in selectors.iter().enumerate() {
        let selected = selector.text("role");
        let mut earlier = selectors.iter().take(index);
        if earlier.any(|other| other.text("role") == selected) {
            return Err(format!("duplicated selector role: {selected}"));
        }
        if !selectable.contains(&selected) {
            return Err(format!(
                "{role} role supports only {} selectors",
                selectable.join(", ")
            ));
        }
        field_selector(selector.text("field"))?;
    }
    Ok(())
}

/// A selector on fields of a Kubernetes object: terms such as `metadata.name=x`.
fn field_selector(text: &str) -> Result<(), String> {
    let wrong = text
        .split(',')
        .find(|term| !term.is_empty() && !term.contains('='));
    match wrong {
        Some(term) => Err(format!(
            "invalid selector: '{text}'; can't understand '{term}'"
        )),
        None => Ok(()),
    }
}

fn marathon(values: &Values) -> Result<(), String> {
    require(
        !values.texts("servers").is_empty(),
        "marathon_sd: must contain at least one Marathon server",
    )?;
    let (token, file) = (
        values.is_set("auth_token"),
        values.is_set("auth_token_file"),
    );
    require(
        !(token && file),
        "marathon_sd: at most one of auth_token & auth_token_file must be configured",
    )?;
    if !token && !file {
        return Ok(());
    }
    require(
        !values.is_set("basic_auth"),
        "marathon_sd: at most one of basic_auth, auth_token & auth_token_file must be configured",
    )?;
    require(
        !values.is_set("bearer_token") && !values.is_set("bearer_token_file"),
        "marathon_sd: at most one of bearer_token, bearer_token_file, auth_token & auth_token_file must be configured",
    )?;
    require(
        !values.is_set("authorization"),
        "marathon_sd: at most one of auth_token, auth_token_file & authorization must be configured",
    )
}

fn oci(values: &Values) -> Result<(), String> {
    require(
        values.is_set("region"),
        "OCI SD configuration requires a region",
    )?;
    let keys = ["tenancy", "user", "fingerprint", "key_file"];
    match values.text_or("auth", "api_key") {
        "api_key" => {
            for key in keys {
                require(
                    values.is_set(key),
                    &format!("OCI SD api_key auth requires {key}"),
                )?;
            }
        }
        "instance_principal" => require(
            !keys.iter().any(|key| values.is_set(key)),
            "OCI SD instance_principal auth must not have tenancy, user, fingerprint, or key_file set",
        )?,
        other => {
            return Err(format!(
                "OCI SD unknown auth method {other:?}, expected \"api_key\" or \"instance_principal\""
            ));
        }
    }
    let mut compartments = values.texts("compartments").iter();
    if let Some(index) = compartments.position(String::is_empty) {
        return Err(format!("OCI SD compartments[{index}] must not be empty"));
    }
    if values.is_set("tag_filter_key") {
        require(
            values.is_set("tag_filter_value"),
            "OCI SD tag_filter_key requires tag_filter_value",
        )?;
        let action = values.text_or("tag_filter_action", "include");
        if !["include", "exclude"].contains(&action) {
            return Err(format!(
                "OCI SD tag_filter_action must be \"include\" or \"exclude\", got {action:?}"
            ));
        }
    }
    Ok(())
}

fn triton(values: &Values) -> Result<(), String> {
    let role = values.text_or("role", "container");
    require(
        role == "container" || role == "cn",
        "triton SD configuration requires role to be 'container' or 'cn'",
    )?;
    for (key, sentence) in [
        ("account", "triton SD configuration requires an account"),
        (
            "dns_suffix",
            "triton SD configuration requires a dns_suffix",
        ),
        ("endpoint", "triton SD configuration requires an endpoint"),
    ] {
        require(values.is_set(key), sentence)?;
    }
    let interval = values.duration("refresh_interval");
    require(
        interval.is_none_or(|interval| !interval.is_zero()),
        "triton SD configuration requires RefreshInterval to be a positive integer",
    )
}

fn zookeeper(values: &Values, kind: &str) -> Result<(), String> {
    let need = |condition, what: &str| {
        require(
            condition,
            &format!("{kind} SD config must contain at least one {what}"),
        )
    };
    need(!values.texts("servers").is_empty(), "Zookeeper server")?;
    need(!values.texts("paths").is_empty(), "path")?;
    match values
        .texts("paths")
        .iter()
        .find(|path| !path.starts_with('/'))
    {
        Some(path) => Err(format!(
            "{kind} SD config paths must begin with '/': {path}"
        )),
        None => Ok(()),
    }
}
