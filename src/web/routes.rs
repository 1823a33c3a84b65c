//! The table of paths.

use http::Method;

use crate::api::v1::Endpoint;

/// What answers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handler {
    /// An endpoint with an envelope.
    Api(Endpoint),
    /// `/api/v1/read`
    RemoteRead,
    /// `/api/v1/write`
    RemoteWrite,
    /// `/`: to the query page.
    Root,
    /// The query page's old path; its query string goes along.
    Graph,
    /// The server is alive.
    Healthy,
    /// The server answers queries.
    Ready,
    /// Load the configuration anew.
    Reload,
    /// Stop.
    Quit,
    /// Build information as plain JSON.
    Version,
    /// Our own metrics.
    Metrics,
    /// The newest sample of each selected series, for another server to scrape.
    Federate,
    /// The page for people.
    Page,
    /// A path that moved.
    OldPage(&'static str),
}

/// The methods of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Methods {
    /// GET
    Get,
    /// GET and HEAD
    GetHead,
    /// GET and POST
    GetPost,
    /// GET, POST and DELETE
    GetPostDelete,
    /// GET (refused with a sentence), POST and PUT
    Command,
    /// POST
    Post,
    /// POST and PUT
    PostPut,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Route {
    /// Below the prefix; `:name` stands for one word.
    pub(super) path: &'static str,
    methods: Methods,
    /// Whether it is turned away until the store is open.
    pub(super) needs_store: bool,
    /// What answers.
    pub(super) handler: Handler,
}

impl Route {
    /// Whether the path has this method.
    pub(super) fn allows(&self, method: &Method) -> bool {
        if *method == Method::OPTIONS {
            return false;
        }
        self.allow().split(", ").any(|name| name == method.as_str())
    }

    /// The value of `Allow`.
    pub(super) const fn allow(&self) -> &'static str {
        match self.methods {
            Methods::Get => "GET, OPTIONS",
            Methods::GetHead => "GET, HEAD, OPTIONS",
            Methods::GetPost => "GET, OPTIONS, POST",
            Methods::GetPostDelete => "DELETE, GET, OPTIONS, POST",
            Methods::Command => "GET, OPTIONS, POST, PUT",
            Methods::Post => "OPTIONS, POST",
            Methods::PostPut => "OPTIONS, POST, PUT",
        }
    }
}

const fn api(path: &'static str, methods: Methods, endpoint: Endpoint) -> Route {
    Route {
        path,
        methods,
        needs_store: true,
        handler: Handler::Api(endpoint),
    }
}

const fn site(path: &'static str, methods: Methods, handler: Handler) -> Route {
    Route {
        path,
        methods,
        needs_store: matches!(
            handler,
            Handler::Ready | Handler::Federate | Handler::RemoteRead | Handler::RemoteWrite
        ),
        handler,
    }
}

const ROUTES: &[Route] = &[
    api("/api/v1/query", Methods::GetPost, Endpoint::Query),
    api(
        "/api/v1/query_range",
        Methods::GetPost,
        Endpoint::QueryRange,
    ),
    api(
        "/api/v1/query_exemplars",
        Methods::GetPost,
        Endpoint::QueryExemplars,
    ),
    api(
        "/api/v1/format_query",
        Methods::GetPost,
        Endpoint::FormatQuery,
    ),
    api(
        "/api/v1/parse_query",
        Methods::GetPost,
        Endpoint::ParseQuery,
    ),
    api("/api/v1/labels", Methods::GetPost, Endpoint::LabelNames),
    api(
        "/api/v1/label/:name/values",
        Methods::Get,
        Endpoint::LabelValues,
    ),
    api("/api/v1/series", Methods::GetPostDelete, Endpoint::Series),
    api("/api/v1/metadata", Methods::Get, Endpoint::Metadata),
    api("/api/v1/targets", Methods::Get, Endpoint::Targets),
    api(
        "/api/v1/targets/metadata",
        Methods::Get,
        Endpoint::TargetsMetadata,
    ),
    api("/api/v1/scrape_pools", Methods::Get, Endpoint::ScrapePools),
    api("/api/v1/rules", Methods::Get, Endpoint::Rules),
    api("/api/v1/alerts", Methods::Get, Endpoint::Alerts),
    api(
        "/api/v1/alertmanagers",
        Methods::Get,
        Endpoint::Alertmanagers,
    ),
    api(
        "/api/v1/notifications",
        Methods::Get,
        Endpoint::Notifications,
    ),
    api("/api/v1/status/config", Methods::Get, Endpoint::Config),
    api("/api/v1/status/flags", Methods::Get, Endpoint::Flags),
    api(
        "/api/v1/status/runtimeinfo",
        Methods::Get,
        Endpoint::RuntimeInfo,
    ),
    api(
        "/api/v1/status/buildinfo",
        Methods::Get,
        Endpoint::BuildInfo,
    ),
    api("/api/v1/status/tsdb", Methods::Get, Endpoint::TsdbStatus),
    Route {
        path: "/api/v1/status/walreplay",
        methods: Methods::Get,
        needs_store: false,
        handler: Handler::Api(Endpoint::WalReplay),
    },
    api(
        "/api/v1/admin/tsdb/snapshot",
        Methods::PostPut,
        Endpoint::Snapshot,
    ),
    api(
        "/api/v1/admin/tsdb/delete_series",
        Methods::PostPut,
        Endpoint::DeleteSeries,
    ),
    api(
        "/api/v1/admin/tsdb/clean_tombstones",
        Methods::PostPut,
        Endpoint::CleanTombstones,
    ),
    site("/api/v1/read", Methods::Post, Handler::RemoteRead),
    site("/api/v1/write", Methods::Post, Handler::RemoteWrite),
    site("/-/healthy", Methods::GetHead, Handler::Healthy),
    site("/-/ready", Methods::GetHead, Handler::Ready),
    site("/-/reload", Methods::Command, Handler::Reload),
    site("/-/quit", Methods::Command, Handler::Quit),
    site("/metrics", Methods::Get, Handler::Metrics),
    site("/federate", Methods::Get, Handler::Federate),
    site("/version", Methods::Get, Handler::Version),
    site("/", Methods::Get, Handler::Root),
    site("/graph", Methods::Get, Handler::Graph),
    site("/query", Methods::Get, Handler::Page),
    site("/alerts", Methods::Get, Handler::Page),
    site("/rules", Methods::Get, Handler::Page),
    site("/targets", Methods::Get, Handler::Page),
    site("/service-discovery", Methods::Get, Handler::Page),
    site("/alertmanager-discovery", Methods::Get, Handler::Page),
    site("/status", Methods::Get, Handler::Page),
    site("/config", Methods::Get, Handler::Page),
    site("/flags", Methods::Get, Handler::Page),
    site("/tsdb-status", Methods::Get, Handler::Page),
    site("/new/graph", Methods::Get, Handler::Graph),
    site("/classic/graph", Methods::Get, Handler::Graph),
    site("/new", Methods::Get, Handler::OldPage("/query")),
    site("/classic", Methods::Get, Handler::OldPage("/query")),
];

/// The route of a decoded path below the prefix, and the word that stands for its `:name`.
pub(super) fn find(path: &[u8]) -> Option<(&'static Route, &[u8])> {
    const LABEL: &[u8] = b"/api/v1/label/";
    const VALUES: &[u8] = b"/values";
    let (pattern, name) = match path
        .strip_prefix(LABEL)
        .and_then(|rest| rest.strip_suffix(VALUES))
    {
        Some(name) if !name.is_empty() && !name.contains(&b'/') => {
            (&b"/api/v1/label/:name/values"[..], name)
        }
        _ => (path, &[][..]),
    };
    if name.is_empty() && pattern.contains(&b':') {
        return None;
    }
    ROUTES
        .iter()
        .find(|route| route.path.as_bytes() == pattern)
        .map(|route| (route, name))
}
