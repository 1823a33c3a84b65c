//! Listening sockets and the loop that accepts connections from them.
//!
//! All listeners share one limit of connections: the next one is accepted when there is a place, as
//! in Prometheus. A request must have arrived whole within the read timeout, and a connection
//! without requests is closed after it. A client that goes away ends its request: the handler is
//! dropped where it waits.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http1,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::Sleep,
};
use tracing::debug;

use super::request_line::RequestLines;

/// Opens the listeners of `--web.listen-address`. As in Go, `0.0.0.0:9090` and `:9090` listen on
/// IPv4 and IPv6 where the machine has both.
///
/// # Errors
/// The system's, with the address in Prometheus's words.
pub fn bind(addresses: &[String]) -> io::Result<Vec<std::net::TcpListener>> {
    addresses.iter().map(|address| bind_one(address)).collect()
}

fn bind_one(address: &str) -> io::Result<std::net::TcpListener> {
    let fail = |error: io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
            io::ErrorKind::PermissionDenied => "bind: permission denied".to_owned(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("listen tcp {address}: {reason}"))
    };
    let any = address
        .strip_prefix("0.0.0.0:")
        .or_else(|| address.strip_prefix(':'));
    let listener = match any {
        Some(port) => match std::net::TcpListener::bind(format!("[::]:{port}")) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                std::net::TcpListener::bind(format!("0.0.0.0:{port}"))
            }
            other => other,
        },
        None => address
            .to_socket_addrs()
            .and_then(|found| std::net::TcpListener::bind(found.collect::<Vec<_>>().as_slice())),
    };
    let listener = listener.map_err(fail)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What bounds connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections open at the same time, over all listeners.
    pub(super) connections_max: usize,
    /// Time to read a request, and to keep a connection without one.
    pub(super) read_timeout: Duration,
}

/// The running loops. Dropping it cuts every connection.
pub(super) struct Accepting {
    loops: JoinSet<()>,
    graceful: Arc<GracefulShutdown>,
}

impl Accepting {
    /// Serves `router` on each listener. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot take a listener.
    pub(super) fn start(
        listeners: Vec<std::net::TcpListener>,
        router: &Router,
        limits: Limits,
    ) -> io::Result<Self> {
        let places = Arc::new(Semaphore::new(
            limits.connections_max.min(Semaphore::MAX_PERMITS),
        ));
        let graceful = Arc::new(GracefulShutdown::new());
        let mut loops = JoinSet::new();
        for listener in listeners {
            loops.spawn(accept(
                TcpListener::from_std(listener)?,
                router.clone(),
                Arc::clone(&places),
                Arc::clone(&graceful),
                limits.read_timeout,
            ));
        }
        Ok(Self { loops, graceful })
    }

    /// Stops accepting, waits until the requests that run are answered or `deadline` completes, and
    /// cuts what is left. Says whether all were answered.
    pub(super) async fn stop(mut self, deadline: impl Future<Output = ()>) -> bool {
        self.loops.shutdown().await;
        let graceful = Arc::into_inner(self.graceful).expect("only the loops shared it");
        tokio::select! {
            () = graceful.shutdown() => true,
            () = deadline => false,
        }
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
    graceful: Arc<GracefulShutdown>,
    read_timeout: Duration,
) {
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let serving = serve(stream, router.clone(), &graceful, read_timeout);
                // Detached: a graceful stop ends the loop at once but lets connections finish.
                tokio::spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            // No descriptors left, or a connection that died in the queue: go on, without spinning.
            Err(error) => {
                debug!(err = %error, "Could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// The whole life of one connection. It must be made here, before the loop goes on, so that a
/// graceful stop knows of every connection that was accepted.
fn serve(
    stream: TcpStream,
    router: Router,
    graceful: &GracefulShutdown,
    read_timeout: Duration,
) -> impl Future<Output = ()> + Send + use<> {
    // Small answers leave at once; without it Nagle's algorithm may hold them back.
    let _unsupported = stream.set_nodelay(true);
    let service = tower::ServiceBuilder::new()
        .map_request(move |request: http::Request<Incoming>| {
            request.map(|body| ReadDeadline {
                body,
                deadline: Box::pin(tokio::time::sleep(read_timeout)),
            })
        })
        .service(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(read_timeout)
        .max_buf_size(1 << 20)
        .serve_connection(
            TokioIo::new(RequestLines::new(stream)),
            TowerToHyperService::new(service),
        );
    let connection = graceful.watch(connection);
    async move {
        if let Err(error) = connection.await {
            debug!(err = %error, "Connection ended early");
        }
    }
}

/// A request body that must have arrived by a deadline.
struct ReadDeadline {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl Body for ReadDeadline {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match this.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(
                "the request body did not arrive within --web.read-timeout".into(),
            ))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// The address people can be sent to: a wildcard address becomes `localhost`.
pub(super) fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::{get, post};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
    };

    use super::*;

    fn start(router: &Router, limits: Limits) -> (Accepting, SocketAddr) {
        let listeners = bind(&["127.0.0.1:0".to_owned()]).unwrap();
        let address = listeners[0].local_addr().unwrap();
        (
            Accepting::start(listeners, router, limits).unwrap(),
            address,
        )
    }

    const LIMITS: Limits = Limits {
        connections_max: 2,
        read_timeout: Duration::from_mins(1),
    };

    async fn ask(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_stop_lets_running_requests_end_and_refuses_new_ones() {
        let entered = Arc::new(Notify::new());
        let release = Arc::new(Notify::new());
        let router = Router::new().route(
            "/slow",
            get({
                let (entered, release) = (Arc::clone(&entered), Arc::clone(&release));
                async move || {
                    entered.notify_one();
                    release.notified().await;
                    "done"
                }
            }),
        );
        let (accepting, address) = start(&router, LIMITS);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            tokio::spawn(
                async move { ask(&mut stream, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await },
            );
        entered.notified().await;
        let stop = tokio::spawn(accepting.stop(std::future::pending()));
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        release.notify_one();
        let answer = request.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ndone"), "{answer}");
        assert!(stop.await.unwrap());
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_waits_for_a_place() {
        let router = Router::new().route("/", get(|| async { "here" }));
        let (_accepting, address) = start(&router, LIMITS);
        let first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let mut third = TcpStream::connect(address).await.unwrap();
        third
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut byte = [0];
        let early = tokio::time::timeout(Duration::from_millis(200), third.read(&mut byte)).await;
        assert!(early.is_err(), "answered while two connections were open");
        drop(first);
        let mut answer = String::new();
        third.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("here"), "{answer}");
    }

    #[tokio::test]
    async fn a_body_that_does_not_arrive_in_time_ends_its_request() {
        let router = Router::new().route("/", post(|body: String| async move { body }));
        let limits = Limits {
            read_timeout: Duration::from_millis(100),
            ..LIMITS
        };
        let (_accepting, address) = start(&router, limits);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = ask(
            &mut stream,
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[test]
    fn an_address_in_use_is_reported_in_prometheus_words() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = bind(std::slice::from_ref(&address)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("listen tcp {address}: bind: address already in use")
        );
    }
}
