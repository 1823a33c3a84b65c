//! The router: one table of paths, methods and what answers them.
//!
//! Methods, redirects and refusals are those of Prometheus: a known path with another method is 405
//! with `Allow`, `OPTIONS` below `/api/v1` is always 204, a path with doubled slashes, a slash too
//! many or capital letters redirects to the right one. Old paths of the pages redirect to the new
//! ones. Everything lies under the route prefix.

mod counted;
mod federate;
mod page;
mod routes;

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::Request,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use tokio::sync::oneshot;
use tower_http::catch_panic::CatchPanicLayer;

use self::{
    counted::Counted,
    routes::{Handler, Route, find},
};
use crate::{
    api::{
        ApiError, Control, FORM_BYTES_MAX, Params, State, accepted_encoding, compress,
        compress_stream, error_text, multipart, respond, text,
        v1::{self, Call, Endpoint},
    },
    ingest::remote_write,
    remote_read::remote_read,
};

/// Everything the server answers over HTTP. A handler that panics ends its own request alone.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .fallback(move |request: Request| dispatch(Arc::clone(&state), request))
        .layer(CatchPanicLayer::new())
}

async fn dispatch(state: Arc<State>, request: Request) -> Response<Body> {
    let began = state.clock.monotonic();
    let (parts, body) = request.into_parts();
    let (handler, response) = route(&state, parts, body).await;
    let Some(handler) = handler else {
        return response;
    };
    let (head, body) = response.into_parts();
    let status = head.status;
    let observe = move |bytes| {
        let took = state.clock.monotonic().saturating_sub(began);
        state.metrics.observe(handler, status, took, bytes);
    };
    let body = match body.size_hint().exact() {
        Some(bytes) => {
            observe(bytes);
            body
        }
        None => Body::new(Counted::new(body, observe)),
    };
    Response::from_parts(head, body)
}

/// The answer, and the path pattern it is counted under.
async fn route(
    state: &Arc<State>,
    parts: Parts,
    body: Body,
) -> (Option<&'static str>, Response<Body>) {
    let raw_path = parts.uri.path();
    if let Some(clean) = clean_path(raw_path) {
        return (None, moved(&parts.method, &clean, parts.uri.query()));
    }
    let prefix = state.settings.route_prefix.as_str();
    let Some(path) = raw_path.strip_prefix(prefix) else {
        if raw_path == "/" {
            return (None, found(prefix));
        }
        return (None, not_found());
    };
    if path.is_empty() {
        let root = format!("{prefix}/");
        return (None, moved(&parts.method, &root, parts.uri.query()));
    }
    let path: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    if parts.method == Method::OPTIONS && path.starts_with(b"/api/v1/") {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        allow_origin(state, &parts.headers, response.headers_mut());
        return (Some("/api/v1/*path"), response);
    }
    let Some((route, name)) = find(&path) else {
        return (None, misspelt(&parts.method, prefix, &path));
    };
    if !route.allows(&parts.method) {
        let response = if parts.method == Method::OPTIONS {
            Response::new(Body::empty())
        } else {
            error_text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        };
        return (None, with_allow(response, route));
    }
    if route.needs_store && !state.readiness.is_ready() {
        return (Some(route.path), unavailable(state));
    }
    let response = match route.handler {
        Handler::Api(Endpoint::Series) if parts.method == Method::DELETE => {
            api(state, Endpoint::DropSeries, &parts, body, Vec::new()).await
        }
        Handler::Api(endpoint) => api(state, endpoint, &parts, body, name.to_vec()).await,
        Handler::RemoteRead => remote_read(state, body).await,
        Handler::RemoteWrite => remote_write(state, &parts.headers, body).await,
        handler => other(state, handler, &parts, body).await,
    };
    (Some(route.path), response)
}

async fn api(
    state: &Arc<State>,
    endpoint: Endpoint,
    parts: &Parts,
    body: Body,
    name: Vec<u8>,
) -> Response<Body> {
    let boundary = multipart::boundary(content_type(parts));
    let params = match boundary.filter(|_| endpoint.reads_multipart()) {
        Some(boundary) => read_multipart(parts, body, &boundary).await,
        None => Ok(read_params(parts, body).await),
    };
    let answer = match params {
        Ok(params) => {
            let state = Arc::clone(state);
            let call = Call {
                state,
                params,
                name,
            };
            v1::answer(endpoint, call).await
        }
        Err(error) => Err(error),
    };
    let response = compressed(&parts.headers, respond(answer)).await;
    let (mut head, body) = response.into_parts();
    allow_origin(state, &parts.headers, &mut head.headers);
    Response::from_parts(head, body)
}

async fn other(state: &Arc<State>, handler: Handler, parts: &Parts, body: Body) -> Response<Body> {
    let prefix = &state.settings.route_prefix;
    match handler {
        Handler::Root => found(&format!("{}/query", external_path(state))),
        Handler::Graph => {
            let query = parts.uri.query().unwrap_or_default();
            found(&format!("{}/query?{query}", external_path(state)))
        }
        Handler::Healthy => text(StatusCode::OK, "Prometheus Server is Healthy.\n"),
        Handler::Ready => text(StatusCode::OK, "Prometheus Server is Ready.\n"),
        Handler::Reload => reload(state, &parts.method).await,
        Handler::Quit => quit(state, &parts.method).await,
        Handler::Version => {
            let mut json = v1::status::build_info_json();
            json.push(b'\n');
            text(StatusCode::OK, json)
        }
        Handler::Metrics => {
            let mut response = text(StatusCode::OK, state.registry.render());
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, EXPOSITION);
            compressed(&parts.headers, response).await
        }
        Handler::Federate => {
            let params = read_params(parts, body).await;
            let mut response = federate::federate(state, params).await;
            if response.status() == StatusCode::OK {
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, EXPOSITION);
            }
            compressed(&parts.headers, response).await
        }
        Handler::Page => {
            let mut response = text(
                StatusCode::OK,
                page::page(&state.settings.page_title, &external_path(state)),
            );
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            );
            compressed(&parts.headers, response).await
        }
        Handler::OldPage(path) => found(&format!("{prefix}{path}")),
        Handler::Api(_) | Handler::RemoteRead | Handler::RemoteWrite => {
            unreachable!("answered by their own functions")
        }
    }
}

/// The content type of the text format, with what Prometheus adds to it.
const EXPOSITION: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");

fn content_type(parts: &Parts) -> &str {
    let found = parts.headers.get(header::CONTENT_TYPE);
    let text = found.and_then(|value| value.to_str().ok());
    text.unwrap_or_default()
}

/// The query string, after the form body of a method that has one.
async fn read_params(parts: &Parts, body: Body) -> Params {
    let mut params = Params::default();
    let content_type = content_type(parts);
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let has_form = matches!(parts.method, Method::POST | Method::PUT)
        && media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    if has_form {
        match axum::body::to_bytes(body, FORM_BYTES_MAX).await {
            Ok(form) => params.add(&form),
            Err(_) => params.note("http: POST too large"),
        }
    }
    params.add(parts.uri.query().unwrap_or_default().as_bytes());
    params
}

/// The query string before the values of a `multipart/form-data` body, which any method may have.
///
/// # Errors
/// The body is too large.
async fn read_multipart(parts: &Parts, body: Body, boundary: &str) -> Result<Params, ApiError> {
    let form = axum::body::to_bytes(body, FORM_BYTES_MAX).await;
    let form = form.map_err(|_| {
        ApiError::bad_data(format!(
            "multipart form not read: it is cut off or larger than {FORM_BYTES_MAX} bytes"
        ))
    })?;
    let mut params = Params::default();
    params.add(parts.uri.query().unwrap_or_default().as_bytes());
    params.extend(multipart::form_values(&form, boundary).unwrap_or_default());
    Ok(params)
}

async fn compressed(request: &HeaderMap, response: Response<Body>) -> Response<Body> {
    let Some(encoding) = accepted_encoding(request) else {
        return response;
    };
    let (mut head, body) = response.into_parts();
    let body = if body.size_hint().exact().is_some() {
        // It is whole in memory, so collecting it neither waits nor fails.
        let body = axum::body::to_bytes(body, usize::MAX).await;
        let body = body.unwrap_or_default();
        Body::from(compress(encoding, &mut head.headers, &body))
    } else {
        compress_stream(encoding, &mut head.headers, body)
    };
    Response::from_parts(head, body)
}

/// Lets pages of other origins read the answer, if the command line allows theirs.
fn allow_origin(state: &State, request: &HeaderMap, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = request.get(header::ORIGIN) else {
        return;
    };
    let is_allowed = origin
        .to_str()
        .is_ok_and(|origin| state.settings.cors_origin.is_match(origin));
    if !is_allowed {
        return;
    }
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("Accept, Authorization, Content-Type, Origin"),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, OPTIONS"),
        ),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("Date"),
        ),
    ] {
        headers.insert(name, value);
    }
}

fn is_command(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT)
}

/// Why a command is not obeyed, if it is not.
fn refused_command(state: &State, method: &Method) -> Option<Response<Body>> {
    if !is_command(method) {
        return Some(text(
            StatusCode::METHOD_NOT_ALLOWED,
            "Only POST or PUT requests allowed",
        ));
    }
    (!state.settings.enable_lifecycle)
        .then(|| text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled."))
}

async fn reload(state: &State, method: &Method) -> Response<Body> {
    if let Some(refused) = refused_command(state, method) {
        return refused;
    }
    let (answer, answered) = oneshot::channel();
    let outcome = match state.control.send(Control::Reload(answer)).await {
        Ok(()) => answered.await.ok(),
        Err(_) => None,
    };
    match outcome {
        Some(Ok(())) => Response::new(Body::empty()),
        Some(Err(problem)) => error_text(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("failed to reload config: {problem}"),
        ),
        None => error_text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed to reload config: the server is stopping",
        ),
    }
}

async fn quit(state: &State, method: &Method) -> Response<Body> {
    if let Some(refused) = refused_command(state, method) {
        return refused;
    }
    // When nobody listens any more the server is already on its way down.
    let _already_stopping = state.control.send(Control::Quit).await;
    text(StatusCode::OK, "Requesting termination... Goodbye!")
}

fn unavailable(state: &State) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    let stopping = if state.readiness.is_stopping() {
        "true"
    } else {
        "false"
    };
    response
        .headers_mut()
        .insert("x-prometheus-stopping", HeaderValue::from_static(stopping));
    response
}

fn not_found() -> Response<Body> {
    error_text(StatusCode::NOT_FOUND, "404 page not found")
}

fn with_allow(mut response: Response<Body>, route: &Route) -> Response<Body> {
    let allow = HeaderValue::from_static(route.allow());
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// A path that is right but for a slash at its end or its case redirects; any other is unknown.
fn misspelt(method: &Method, prefix: &str, path: &[u8]) -> Response<Body> {
    let right = std::str::from_utf8(path)
        .map(|path| path.trim_end_matches('/').to_ascii_lowercase())
        .unwrap_or_default();
    match find(right.as_bytes()) {
        Some((route, _)) if *method == Method::GET && route.allows(method) => {
            moved(method, &format!("{prefix}{right}"), None)
        }
        _ => not_found(),
    }
}

/// The path without doubled slashes and dot segments, if it has any.
fn clean_path(path: &str) -> Option<String> {
    let is_clean = !path.contains("//") && !path.contains("/./") && !path.contains("/../");
    if is_clean {
        return None;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    Some(format!("/{}{end}", segments.join("/")))
}

/// The path of the external URL, without a slash at its end.
fn external_path(state: &State) -> String {
    state
        .settings
        .external_url
        .path()
        .trim_end_matches('/')
        .to_owned()
}

fn moved(method: &Method, path: &str, query: Option<&str>) -> Response<Body> {
    let location = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    redirect(
        StatusCode::MOVED_PERMANENTLY,
        &location,
        *method == Method::GET,
    )
}

fn found(location: &str) -> Response<Body> {
    redirect(StatusCode::FOUND, location, true)
}

fn redirect(status: StatusCode, location: &str, has_body: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    if has_body {
        let reason = status.canonical_reason().unwrap_or_default();
        let shown = page::escape(location);
        *response.body_mut() = Body::from(format!("<a href=\"{shown}\">{reason}</a>.\n\n"));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
    }
    response
}

#[cfg(test)]
mod tests;
